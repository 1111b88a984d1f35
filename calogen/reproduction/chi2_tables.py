"""Tables of networks whose iterations are chosen by a chi2: their chi2, times, sizes."""

from collections.abc import Callable, Mapping, Sequence

from calogen import provenance
from calogen.claims.judge import Quantity, Table
from calogen.config import require
from calogen.evaluation.iterations import ALL, NetworkTest
from calogen.evaluation.published import PublishedChi2, PublishedNumber
from calogen.evaluation.summary import energy_text
from calogen.metrics.chi2 import Chi2, total
from calogen.metrics.distributions import Value, rounded

CUT_REMARK = (
    "Voxels below 1 MeV are zero in both samples, as in the CaloChallenge's evaluation, in all figures, metrics and "
    "places but for the figures of the total energy by momentum and the chi2 that choose and compare networks."
)
SHORT_REMARK = (
    "Short trainings (all presets but paper) have no spectral normalisation in the critic, with which they learn more "
    "slowly; preset paper has it."
)
SeedTests = Sequence[Mapping[str, NetworkTest]]
"""For each training seed the tests of its networks, by name."""
PublishedRows = Mapping[str, Sequence[PublishedChi2 | PublishedNumber]]
"""Rows of a paper's table, by title: one for each network, then one for their sum."""


def chi2_table(
    seeds: SeedTests, ensembles: Mapping[str, Sequence[str]], paper: PublishedRows, halves: Mapping[str, PublishedChi2]
) -> Table:
    """Table of the chi2 of networks, and of sums over ensembles, beside the paper's.

    Args:
        seeds: tests of the networks; the table shows those of the first training seed.
        ensembles: names of the networks that share the momenta between them, by title; one that the first training seed
            lacks, as its training diverged, is left out.
        paper: the paper's rows by the same titles.
        halves: the paper's row for a network after half of its iterations, by the network's name.
    """
    columns = ("networks", "momenta", "iteration", "chi2", "NDF", "chi2/NDF", "at the paper's statistics")
    held_out = "held-out, iteration chosen by training showers, at the paper's statistics"
    rows = []
    for title, names in _trained(ensembles, seeds).items():
        tests = [seeds[0][name] for name in names]
        published = paper.get(title, ())
        for position, test in enumerate(tests):
            cells = (*_cells([test]), _published(published, position))
            rows.append((test.name, _momenta(test), f"{test.iteration:,}", *cells))
            if test.name in halves:
                rows.append(_half_row(test, halves[test.name]))
        if len(tests) > 1:
            rows.append((title, "sum", "", *_cells(tests), _published(published, -1)))
    rows.append(("Geant4 against Geant4", *_floor_cells(next(iter(seeds[0].values())))))
    return Table((*columns, held_out, "paper: chi2 / NDF"), tuple(rows))


def chi2_quantities(
    seeds: SeedTests, ensembles: Mapping[str, Sequence[str]], paper: PublishedRows, data: str
) -> tuple[Quantity, ...]:
    """chi2/NDF of ensembles: at our statistics, at the paper's, and on held-out showers.

    The published tables show those that the paper has.

    Args:
        seeds, ensembles, paper: as for `chi2_table`; the means are over all seeds that trained the whole ensemble.
        data: which showers these are.
    """
    quantities = []
    for title, names in _trained(ensembles, seeds).items():
        tests = [[networks[name] for name in names] for networks in seeds if set(names) <= set(networks)]
        where = data if len(tests) == len(seeds) else f"{data}; {len(tests)} of {len(seeds)} training seeds"
        idle = dict.fromkeys(test.name for group in tests for test in group if test.idle)
        where += f"; {', '.join(idle)} did not learn in so few iterations" if idle else ""
        ours = [chi2_sum(group) for group in tests]
        scaled = [total(part for test in group for part in test.at_papers_statistics.values()) for group in tests]
        published, shown = _per_ndf(paper[title][-1]) if title in paper else None, title in paper or not paper
        quantities.append(_quantity(f"chi2/NDF of the total energy, {title}", None, ours, where, shown))
        quantities.append(_quantity(f"chi2/NDF at the paper's statistics, {title}", published, scaled, where, shown))
        held_out = [part for group in tests if (part := _held_out(group))]
        if len(held_out) == len(tests) and all(test.chosen_by == ALL for group in tests for test in group):
            name = f"chi2/NDF on held-out showers alone, iteration chosen by the others, {title}"
            quantities.append(_quantity(name, published, held_out, where, shown))
        floors = [part for test in tests[0] for part in test.floor.values()]
        if floors:
            name = f"chi2/NDF of Geant4 against Geant4, held-out and as many others, {title}"
            quantities.append(_quantity(name, None, [total(floors)], data, shown and title == next(iter(ensembles))))
    return tuple(quantities)


def _trained(ensembles: Mapping[str, Sequence[str]], seeds: SeedTests) -> dict[str, Sequence[str]]:
    """The ensembles that the first training seed has."""
    return {title: names for title, names in ensembles.items() if set(names) <= set(seeds[0])}


def time_table(
    seconds: Mapping[float, Value],
    paper: Mapping[float, PublishedNumber],
    label: Callable[[float], str],
    machine: str,
) -> Table:
    """Table of the times of calls, ms, beside the paper's: mean and standard deviation.

    Args:
        seconds: our times by momentum, or by batch size.
        paper: the paper's times by the same keys.
        label: function that makes the title of a row from its key.
        machine: the machine on which the paper's times were measured.
    """
    rows = tuple((label(key), f"{1e3 * value}", _papers(paper.get(key))) for key, value in seconds.items())
    return Table(("showers", f"ms per call, {provenance.device()}", f"paper, {machine}"), rows)


def size_table(megabytes: Mapping[str, float], paper: Mapping[str, PublishedNumber]) -> Table:
    """Table of the sizes of networks as LWTNN JSON, MB, beside the paper's."""
    rows = tuple((name, f"{size:.2f}", _papers(paper.get(name))) for name, size in megabytes.items())
    return Table(("LWTNN JSON", "MB", "paper"), rows)


def _papers(number: PublishedNumber | None) -> str:
    if number is None:
        return "-"
    return f"{number.value:g}" if number.error is None else f"{number.value:g} ± {number.error:g}"


def chi2_sum(tests: Sequence[NetworkTest]) -> Chi2:
    """Sum of the chi2 of several networks.

    Raises:
        ConfigError: the figure of merit of one of them is no chi2.
    """
    without = ", ".join(test.name for test in tests if not test.chi2)
    require(not without, f"the figure of merit '{ALL}' must be a chi2 to be tabulated. Received: another for {without}")
    return total(part for test in tests for part in test.chi2.values())


def _held_out(tests: Sequence[NetworkTest]) -> Chi2 | None:
    """Sum over networks of the chi2 of held-out showers at the paper's statistics.

    None if one of the networks has no held-out showers.
    """
    parts = [part for test in tests if (part := test.held_out_at_papers_statistics)]
    return total(parts) if len(parts) == len(tests) else None


def _cells(tests: Sequence[NetworkTest]) -> tuple[str, ...]:
    ours = chi2_sum(tests)
    scaled = total(part for test in tests for part in test.at_papers_statistics.values())
    held_out = _held_out(tests)
    held_out_cell = _with_error(held_out) if held_out else "-"
    return f"{ours.value:.0f}", f"{ours.ndf}", _with_error(ours), _with_error(scaled), held_out_cell


def _floor_cells(test: NetworkTest) -> tuple[str, ...]:
    if not test.floor:
        return ("", "", "", "", "-", "-", "", "")
    floor = total(test.floor.values())
    return (_momenta(test), "", f"{floor.value:.0f}", f"{floor.ndf}", _with_error(floor), "", "", "1 is expected")


def _half_row(test: NetworkTest, paper: PublishedChi2) -> tuple[str, ...]:
    iterations = test.last_iteration // 2
    chi2 = test.within(iterations)
    cells = (f"{chi2.value:.0f}", f"{chi2.ndf}", _with_error(chi2), "", "")
    return (f"{test.name}, half", _momenta(test), f"up to {iterations:,}", *cells, _published([paper], 0))


def _per_ndf(row: PublishedChi2 | PublishedNumber) -> float:
    return row.per_ndf if isinstance(row, PublishedChi2) else row.value


def _published(rows: Sequence[PublishedChi2 | PublishedNumber], position: int) -> str:
    if not rows:
        return "-"
    row = rows[position]
    if isinstance(row, PublishedNumber):
        return f"{row.value:.1f}"
    return f"{row.momenta}: {row.chi2:.0f} / {row.ndf} = {row.per_ndf:.1f}"


def _momenta(test: NetworkTest) -> str:
    return f"{energy_text(min(test.chi2))} - {energy_text(max(test.chi2))}"


def _with_error(chi2: Chi2) -> str:
    return rounded(chi2.per_ndf, chi2.error)


def _quantity(name: str, paper: float | None, parts: Sequence[Chi2], data: str, headline: bool = False) -> Quantity:
    ours, spread = Value.repeated([part.reduced for part in parts])
    return Quantity(name, "", paper, ours.value, ours.error or None, spread, data, headline)
