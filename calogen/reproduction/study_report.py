"""The results of a study: words, hyperparameters, deviations, provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from calogen import provenance
from calogen.claims.judge import Claim, Quantity, Results, Table
from calogen.config import Source, sources
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.networks import Network, trainable_parameters
from calogen.reproduction.study import Outcome


@dataclass(frozen=True, kw_only=True)
class Account:
    """What an experiment says of its study.

    Args:
        name, title, citation: of the results.
        originals: the paper's configurations that the networks' were made of, by network.
        caption: of the table of hyperparameters.
        parameters: the paper's numbers of trainable parameters.
        claims, quantities, tables: the tables come after that of the hyperparameters.
        remarks: sentences on how ours differs.
    """

    name: str
    title: str
    citation: str
    originals: Mapping[str, Any]
    caption: str = "Hyperparameters"
    parameters: str = "-"
    claims: tuple[Claim, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def build_results(
    account: Account, arguments: Arguments, outcomes: Sequence[Outcome], recorded: Mapping[str, Any]
) -> Results:
    """The results of a study.

    Args:
        account: what to say.
        arguments: what the experiment was asked for.
        outcomes: of all seeds.
        recorded: provenance, from before the training.
    """
    networks = outcomes[0].networks
    configs = {name: network.run.config for name, network in networks.items()}
    trainings = {str(seed): outcome.provenance for seed, outcome in zip(arguments.seeds, outcomes, strict=True)}
    asked = {"preset": arguments.preset, "seeds": list(arguments.seeds), **arguments.options}
    wall_time = (datetime.now(UTC) - datetime.fromisoformat(recorded["time"])).total_seconds()
    trained = sum(about.get("training_seconds", 0.0) for item in outcomes for about in item.provenance.values())
    idle = (problem for item in outcomes[0].tests.values() if (problem := item.idle))
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
        quantities=account.quantities,
        tables={account.caption: hyperparameters(networks, account.originals, account.parameters), **account.tables},
        provenance={
            **recorded,
            **asked,
            "device": provenance.device(),
            "wall_time": round(wall_time, 1),
            "training_time": round(trained, 1),
            "training": trainings,
        },
        measurements=tuple(row for item in outcomes[0].comparisons.together.values() for row in item.measurements),
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
    known = set(found)
    for name, config in others:
        different = (source for source in sources(config, originals[name]) if source not in known)
        found += [replace(source, name=f"{name}: {source.name}") for source in different]
    return tuple(found)


def hyperparameters(networks: Mapping[str, Network], originals: Mapping[str, Any], published: str) -> Table:
    """All values of the networks' configurations, and their sizes: a column for each network.

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
    counts = [trainable_parameters(network.run) for network in networks.values()]
    cells = (", ".join(f"{number:,}" for number in count.values()) for count in counts)
    rows.append((f"trainable parameters: {', '.join(counts[0])}", *cells, published))
    return Table(("hyperparameter", *columns, "source (first network)"), tuple(rows))
