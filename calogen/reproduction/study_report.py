"""Tables and figures of a study of GANs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from calogen import provenance
from calogen.claims.judge import Claim, Quantity, Results, Table
from calogen.config import Source, sources
from calogen.evaluation.iterations import ALL, NetworkTest
from calogen.evaluation.published import PublishedChi2, PublishedNumber
from calogen.evaluation.summary import energy_text
from calogen.lwtnn.describe import boxes
from calogen.metrics.chi2 import Chi2, total
from calogen.metrics.distributions import Value
from calogen.plots.networks import draw_network
from calogen.plots.observables import draw_observables
from calogen.plots.training import draw_iterations, draw_statistics
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.networks import Network, dense_graph, trainable_parameters
from calogen.reproduction.study import Data, Outcome

CUT_REMARK = (
    "Voxels below 1 MeV are zero in both samples, as in the CaloChallenge's evaluation, in all figures, metrics and "
    "places but for the figures of the total energy by momentum and the chi2 that choose and compare networks."
)
Seeds = Sequence[Mapping[str, NetworkTest]]
Published = Mapping[str, Sequence[PublishedChi2 | PublishedNumber]]


@dataclass(frozen=True, kw_only=True)
class Account:
    """What an experiment says of its study.

    Args:
        name, title, citation: of the results.
        ensembles: networks whose chi2 are added up, by title.
        published: the paper's rows by title, networks first, the sum last.
        halves: the paper's rows after half of a network's iterations.
        originals: the paper's configurations that the networks' were made of, by network.
        captions: of the tables of hyperparameters and of chi2.
        parameters: the paper's numbers of trainable parameters.
        claims, quantities, tables: beyond those of the chi2 and the hyperparameters.
        remarks: sentences on how ours differs.
    """

    name: str
    title: str
    citation: str
    ensembles: Mapping[str, Sequence[str]]
    published: Published
    originals: Mapping[str, Any]
    halves: Mapping[str, PublishedChi2] = field(default_factory=dict)
    captions: tuple[str, str] = ("Hyperparameters", "chi2 of the total energy")
    parameters: str = "-"
    claims: tuple[Claim, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def build_results(
    account: Account, arguments: Arguments, outcomes: Sequence[Outcome], note: str, recorded: Mapping[str, Any]
) -> Results:
    """The results of a study.

    Args:
        account: what to say.
        arguments: what the experiment was asked for.
        outcomes: of all seeds.
        note: which showers.
        recorded: provenance, from before the training.
    """
    tests = [outcome.tests for outcome in outcomes]
    networks = outcomes[0].networks
    configs = {name: network.run.config for name, network in networks.items()}
    trainings = {str(seed): outcome.provenance for seed, outcome in zip(arguments.seeds, outcomes, strict=True)}
    asked = {"preset": arguments.preset, "seeds": list(arguments.seeds), **arguments.options}
    wall_time = (datetime.now(UTC) - datetime.fromisoformat(recorded["time"])).total_seconds()
    trained = sum(about.get("training_seconds", 0.0) for item in outcomes for about in item.provenance.values())
    idle = (problem for item in tests[0].values() if (problem := item.idle))
    first_only = (
        f"Figures, metrics, places, times and the tables of chi2 and hyperparameters: training seed "
        f"{arguments.seeds[0]}. Claims and quantities: means over the {len(outcomes)} training seeds, or as many as "
        "they say.",
    )
    return Results(
        name=account.name,
        title=account.title,
        paper=account.citation,
        claims=account.claims,
        quantities=(*chi2_quantities(tests, account.ensembles, account.published, note), *account.quantities),
        tables={
            account.captions[0]: hyperparameters(networks, account.originals, account.parameters),
            account.captions[1]: chi2_table(tests, account.ensembles, account.published, account.halves),
            **account.tables,
        },
        provenance={
            **recorded,
            **asked,
            "device": provenance.device(),
            "wall_time": round(wall_time, 1),
            "training_time": round(trained, 1),
            "training": trainings,
        },
        measurements=tuple(row for item in outcomes[0].pictures.together.values() for row in item.measurements),
        deviations=deviations(configs, account.originals),
        remarks=(*account.remarks, *idle, *(first_only if len(outcomes) > 1 else ())),
    )


def join_results(parts: Mapping[str, Results]) -> Results:
    """Results of several particles as one: what differs stands side by side.

    Args:
        parts: by particle.
    """
    first, *others = parts.values()
    if not others:
        return first

    def together(name: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(item for part in parts.values() for item in getattr(part, name)))

    return replace(
        first,
        claims=together("claims"),
        quantities=together("quantities"),
        measurements=together("measurements"),
        deviations=together("deviations"),
        remarks=together("remarks"),
        tables={f"{caption}, {label}": item for label, part in parts.items() for caption, item in part.tables.items()},
        provenance={name: first.provenance[name] for name in ("preset", "seeds", "device")}
        | {label: part.provenance for label, part in parts.items()},
    )


def deviations(configs: Mapping[str, Any], originals: Mapping[str, Any]) -> tuple[Source, ...]:
    """Sources of the first network's values, and of those in which the others differ from it.

    Args:
        configs: of the networks, by name.
        originals: the paper's, likewise.
    """
    (first, config), *others = configs.items()
    found = sources(config, originals[first])
    known = {(source.name, source.value, source.source) for source in found}
    for name, config in others:
        every = sources(config, originals[name])
        different = [source for source in every if (source.name, source.value, source.source) not in known]
        found += [replace(source, name=f"{name}: {source.name}") for source in different]
    return tuple(found)


def chi2_table(
    seeds: Seeds, ensembles: Mapping[str, Sequence[str]], paper: Published, halves: Mapping[str, PublishedChi2]
) -> Table:
    """Tables 3 and 4 of arXiv:2309.06515: a row for each network, and one for their sum.

    Args:
        seeds: tests by network, of each training seed; the chi2 are those of the first.
        ensembles: networks by title.
        paper: its rows by title, networks first, the sum last.
        halves: its rows after half of a network's iterations.
    """
    columns = ("networks", "momenta", "iteration", "chi2", "NDF", "chi2/NDF", "at the paper's statistics")
    header = (*columns, "held-out, iteration chosen by training showers, at the paper's statistics")
    rows = []
    for title, names in ensembles.items():
        tests = [seeds[0][name] for name in names]
        published = paper.get(title, ())
        for position, test in enumerate(tests):
            row = (test.name, _momenta(test), f"{test.iteration:,}", *_cells([test]))
            rows.append((*row, _published(published, position)))
            if test.name in halves:
                rows.append(_half_row(test, halves[test.name]))
        if len(tests) > 1:
            rows.append((title, "sum", "", *_cells(tests), _published(published, -1)))
    rows.append(("Geant4 against Geant4", *_floor_cells(next(iter(seeds[0].values())))))
    return Table((*header, "paper: chi2 / NDF"), tuple(rows))


def chi2_quantities(
    seeds: Seeds, ensembles: Mapping[str, Sequence[str]], paper: Published, data: str
) -> tuple[Quantity, ...]:
    """chi2/NDF of networks that share the momenta.

    At our statistics, at the paper's, and on held-out showers; README shows those that the paper has.

    Args:
        seeds, ensembles, paper: as for `chi2_table`; of all seeds that have the networks.
        data: which showers.
    """
    found = []
    for title, names in ensembles.items():
        tests = [[networks[name] for name in names] for networks in seeds if set(names) <= set(networks)]
        where = data if len(tests) == len(seeds) else f"{data}; {len(tests)} of {len(seeds)} training seeds"
        idle = dict.fromkeys(test.name for group in tests for test in group if test.idle)
        where += f"; {', '.join(idle)} did not learn in so few iterations" if idle else ""
        ours = [total(part for test in group for part in test.chi2.values()) for group in tests]
        scaled = [total(part for test in group for part in test.at_papers_statistics.values()) for group in tests]
        published, shown = _per_ndf(paper[title][-1]) if title in paper else None, title in paper or not paper
        found.append(_quantity(f"chi2/NDF of the total energy, {title}", None, ours, where, shown))
        found.append(_quantity(f"the same at the paper's statistics, {title}", published, scaled, where, shown))
        held_out = [[test.held_out_at_papers_statistics for test in group] for group in tests]
        by_energy = all(test.chosen_by == ALL for group in tests for test in group)
        if by_energy and all(part is not None for group in held_out for part in group):
            sums = [total(part for part in group if part is not None) for group in held_out]
            name = f"the same on held-out showers alone, iteration chosen by the others, {title}"
            found.append(_quantity(name, published, sums, where, shown))
        floors = [part for test in tests[0] for part in test.floor.values()]
        if floors:
            name = f"chi2/NDF of Geant4 against Geant4, held-out and as many others, {title}"
            found.append(_quantity(name, None, [total(floors)], data, shown and title == next(iter(ensembles))))
    return tuple(found)


def hyperparameters(networks: Mapping[str, Network], originals: Mapping[str, Any], published: str) -> Table:
    """Table 2 of arXiv:2309.06515, and all other values: a column for each network.

    Args:
        networks: by name.
        originals: the paper's configurations, likewise.
        published: the paper's numbers of trainable parameters.
    """
    columns = {name: sources(network.run.config, originals[name]) for name, network in networks.items()}
    names = [source.name for source in next(iter(columns.values()))]
    rows = []
    for position, name in enumerate(names):
        found = [column[position] for column in columns.values()]
        rows.append((name.replace("_", " "), *(str(source.value) for source in found), found[0].source))
    counts = (", ".join(f"{count:,}" for count in trainable_parameters(network.run)) for network in networks.values())
    rows.append(("trainable parameters: generator, critic", *counts, published))
    return Table(("hyperparameter", *columns, "source (first network)"), tuple(rows))


def time_table(
    seconds: Mapping[float, Value],
    paper: Mapping[float, PublishedNumber],
    label: Callable[[float], str],
    machine: str,
) -> Table:
    """Tables 5 and 6 of arXiv:2309.06515: mean and standard deviation of 100 calls, ms.

    Args:
        seconds: ours by momentum, or by batch size.
        paper: its numbers, likewise.
        label: what to call a row.
        machine: that the paper's times are of.
    """
    rows = []
    for key, value in seconds.items():
        published = paper.get(key)
        theirs = "-" if published is None else f"{published.value:g} ± {published.error:g}"
        rows.append((label(key), f"{1e3 * value}", theirs))
    return Table(("showers", f"ms per call, {provenance.device()}", f"paper, {machine}"), tuple(rows))


def size_table(megabytes: Mapping[str, float], paper: Mapping[str, PublishedNumber]) -> Table:
    """Section 5.7 of arXiv:2309.06515: sizes of the LWTNN JSON, MB."""
    rows = []
    for name, size in megabytes.items():
        published = paper.get(name)
        rows.append((name, f"{size:.2f}", "-" if published is None else f"{published.value:g}"))
    return Table(("LWTNN JSON", "MB", "paper"), tuple(rows))


def draw_study(
    outcome: Outcome, data: Data, one: Sequence[str], several: Sequence[str], titles: Mapping[str, str]
) -> dict[str, Figure]:
    """The figures of arXiv:2309.06515 for one outcome, by caption.

    Args:
        outcome: of one training seed.
        data: showers.
        one, several: networks whose chi2/NDF stand in the panels of the total energy; the same if there is one only.
        titles: captions of `statistics` (Fig. 1), `network` (2), `total` (3-6), `iterations` (7, 8), `energy`,
            `centroid` and `width` of layers (9-14), `voxels` (16), and, where wanted, `widths by momentum` (15) and
            `voxels by momentum` (17).
    """
    together, note = outcome.pictures.together, data.note
    counts = {label: part.counts for label, part in data.samples.items()}
    groups = dict.fromkeys((tuple(one), tuple(several)))
    sums = [total(part for name in group for part in outcome.tests[name].chi2.values()).per_ndf for group in groups]
    added = ", ".join(f"{_gans(group)}: {value:.1f}" for group, value in zip(groups, sums, strict=True))
    figures = {
        titles["statistics"]: draw_statistics(counts, note),
        f"{titles['network']}, {one[0]}": draw_network(boxes(dense_graph(outcome.networks[one[0]].run.generator))),
        f"{titles['total']} (chi2/NDF; {added})": _draw_total(outcome, groups, note),
    }
    for name in dict.fromkeys((*one, *several)):
        test = outcome.tests[name]
        scan = test.scans[ALL]
        chosen = int(np.flatnonzero(scan.iterations == test.iteration)[0])
        figures[f"{titles['iterations']}, {name}"] = draw_iterations(scan, note, chosen)
    for kind in ("energy", "centroid", "width"):
        found = [item for name, item in together.items() if name.startswith("layer_") and name.endswith(kind)]
        figures[titles[kind]] = draw_observables(found, note, log_scale=True)
    figures[titles["voxels"]] = draw_observables([together["voxel_energy"]], note, log_scale=True)
    for kind, ending in (("widths by momentum", "_eta_width"), ("voxels by momentum", "voxel_energy")):
        panels = [
            item
            for comparison in outcome.pictures.by_momentum.values()
            for name, item in comparison.items()
            if name.endswith(ending) and item.incident_energy in item.feature.figures
        ]
        if kind in titles and panels:
            figures[titles[kind]] = draw_observables(panels, note, columns=4, log_scale=True)
    return figures


def _gans(group: Sequence[str]) -> str:
    return "1 GAN" if len(group) == 1 else f"{len(group)} GANs"


def _draw_total(outcome: Outcome, groups: Iterable[tuple[str, ...]], note: str) -> Figure:
    panels, captions = [], []
    for momentum, comparison in outcome.pictures.by_momentum.items():
        lines = ["chi2/NDF"]
        for group in groups:
            found = [outcome.tests[name].chi2[momentum] for name in group if momentum in outcome.tests[name].chi2]
            lines += [f"{_gans(group)}: {found[0].per_ndf:.1f}"] if found else []
        panels.append(comparison["total_energy"])
        captions.append("\n".join(lines))
    return draw_observables(panels, note, columns=4, captions=captions)


def _cells(tests: Sequence[NetworkTest]) -> tuple[str, ...]:
    ours = total(part for test in tests for part in test.chi2.values())
    scaled = total(part for test in tests for part in test.at_papers_statistics.values())
    held_out = [test.held_out_at_papers_statistics for test in tests]
    known = [part for part in held_out if part is not None]
    other = _with_error(total(known)) if len(known) == len(tests) else "-"
    return f"{ours.value:.0f}", f"{ours.ndf}", _with_error(ours), _with_error(scaled), other


def _floor_cells(test: NetworkTest) -> tuple[str, ...]:
    if not test.floor:
        return ("", "", "", "", "-", "-", "", "")
    floor = total(test.floor.values())
    return (_momenta(test), "", f"{floor.value:.0f}", f"{floor.ndf}", _with_error(floor), "", "", "1 is expected")


def _half_row(test: NetworkTest, paper: PublishedChi2) -> tuple[str, ...]:
    iterations = int(test.scans[ALL].iterations[-1]) // 2
    found = test.within(iterations)
    cells = (f"{found.value:.0f}", f"{found.ndf}", _with_error(found), "", "")
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
    return f"{chi2.per_ndf:.2f} ± {chi2.error:.2f}"


def _quantity(name: str, paper: float | None, parts: Sequence[Chi2], data: str, headline: bool = False) -> Quantity:
    values = [part.per_ndf for part in parts]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    error = float(np.mean([part.error for part in parts])) or None
    return Quantity(name, "", paper, float(np.mean(values)), error, spread, data, headline)
