"""Results of a study for its report: claims, numbers, hyperparameters, provenance."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar, cast

from calogen import provenance
from calogen.claims.judge import Claim, Quantity, Results, Table
from calogen.config import Config, Source, sources
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.networks import StudyNetwork, trainable_parameters
from calogen.reproduction.study import Outcome

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Account:
    """Contents of the results that only the experiment knows.

    Args:
        name: name of the results' file.
        title: title of the report.
        citation: citation of the paper.
        originals: the paper's configuration of each network, by the network's name.
        caption: caption of the table of hyperparameters, which is the report's first.
        parameters: the paper's numbers of trainable parameters, as text.
        claims, quantities, tables: claims, quantities and further tables of the report.
        remarks: sentences that say how the study differs from the paper.
        by_energy: whether the metrics are those at single incident energies, not those of all energies together.
        merit: name of the quantity that stands for the paper in the summary of all papers.
    """

    name: str
    title: str
    citation: str
    originals: Mapping[str, Config]
    caption: str = "Hyperparameters"
    parameters: str = "-"
    claims: tuple[Claim, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    by_energy: bool = False
    merit: str = ""


def build_results(
    account: Account,
    arguments: Arguments,
    outcomes: Sequence[Outcome],
    recorded: Mapping[str, object],
    shown: int = 0,
) -> Results:
    """Results of a study.

    Args:
        account: contents that the experiment gives.
        arguments: command line of the experiment.
        outcomes: outcomes of all training seeds.
        recorded: provenance that was collected before the training.
        shown: position of the training seed of which figures and metrics are.
    """
    networks = outcomes[0].networks
    configs = {name: network.run.config for name, network in networks.items()}
    trainings = {str(seed): outcome.provenance for seed, outcome in zip(arguments.seeds, outcomes, strict=True)}
    given = {name: value for name, value in arguments.options.items() if value is not None}
    chosen = {"preset": arguments.preset, "seeds": list(arguments.seeds), **given}
    wall_time = (datetime.now(UTC) - datetime.fromisoformat(str(recorded["time"]))).total_seconds()
    records = [record for outcome in outcomes for record in outcome.provenance.values()]
    training_time = sum(cast(float, record.get("training_seconds", 0.0)) for record in records)
    idle = (problem for item in outcomes[0].tests.values() if (problem := item.idle))
    first_only = (
        f"Figures, metrics, places, times and the tables of chi2 and hyperparameters: training seed "
        f"{arguments.seeds[shown]}. Claims and quantities: means over the {len(outcomes)} training seeds, or as many "
        "as they say.",
    )
    comparisons = outcomes[shown].comparisons
    compared = comparisons.by_energy.values() if account.by_energy else (comparisons.together,)
    return Results(
        name=account.name,
        title=account.title,
        paper=account.citation,
        merit=account.merit,
        claims=account.claims,
        quantities=account.quantities,
        tables={account.caption: hyperparameters(networks, account.originals, account.parameters), **account.tables},
        provenance={
            **recorded,
            **chosen,
            "device": provenance.device(),
            "wall_time": round(wall_time, 1),
            "training_time": round(training_time, 1),
            "training": trainings,
        },
        measurements=tuple(row for comparison in compared for item in comparison.values() for row in item.measurements),
        deviations=deviations(configs, account.originals),
        remarks=(*account.remarks, *idle, *(first_only if len(outcomes) > 1 else ())),
    )


def join_results(parts: Mapping[str, Results]) -> Results:
    """Joins the results of several particles; tables and provenances stand side by side.

    Args:
        parts: the results by particle.
    """
    first, *further = parts.values()
    if not further:
        return first

    every = parts.values()
    return replace(
        first,
        claims=_distinct(part.claims for part in every),
        quantities=_distinct(part.quantities for part in every),
        measurements=_distinct(part.measurements for part in every),
        deviations=_distinct(part.deviations for part in every),
        remarks=_distinct(part.remarks for part in every),
        tables={f"{caption}, {label}": item for label, part in parts.items() for caption, item in part.tables.items()},
        provenance={name: first.provenance[name] for name in ("preset", "seeds", "device")}
        | {label: part.provenance for label, part in parts.items()},
    )


def _distinct(groups: Iterable[Iterable[_Item]]) -> tuple[_Item, ...]:
    """Different items of several groups, in their order."""
    return tuple(dict.fromkeys(item for group in groups for item in group))


def deviations(configs: Mapping[str, Config], originals: Mapping[str, Config]) -> tuple[Source, ...]:
    """Sources of the values of the first network, and of differing values of the other ones.

    Args:
        configs: configurations of the networks, by name.
        originals: the paper's configurations by the same names.
    """
    (first, config), *further = configs.items()
    listed = sources(config, originals[first])
    known = set(listed)
    for name, config in further:
        different = (source for source in sources(config, originals[name]) if source not in known)
        listed += [replace(source, name=f"{name}: {source.name}") for source in different]
    return tuple(listed)


def hyperparameters(networks: Mapping[str, StudyNetwork], originals: Mapping[str, Config], published: str) -> Table:
    """Table of the networks' hyperparameters and sizes, with a column for each network.

    Networks of different models have different hyperparameters: a dash stands for one that a network does not have.

    Args:
        networks: the networks by name.
        originals: the paper's configurations by the same names.
        published: the paper's numbers of trainable parameters, as text.
    """
    columns = {
        name: {source.name: source for source in sources(network.run.config, originals[name])}
        for name, network in networks.items()
    }
    rows = []
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        row = [column.get(name) for column in columns.values()]
        texts = ("-" if source is None else str(source.value) for source in row)
        rows.append((name.replace("_", " "), *texts, next(source.source for source in row if source)))
    counts = [trainable_parameters(network.run) for network in networks.values()]
    cells = (
        ", ".join(
            f"{number:,}" if count.keys() == counts[0].keys() else f"{key} {number:,}" for key, number in count.items()
        )
        for count in counts
    )
    rows.append((f"trainable parameters: {', '.join(counts[0])}", *cells, published))
    return Table(("hyperparameter", *columns, "source (first network)"), tuple(rows))
