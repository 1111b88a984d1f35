"""The results of a study: what an experiment says, hyperparameters, deviations, provenance."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_gan import CONFIG, GAN_VALUES
from toy_study import made, network_of, toy_outcome

from calogen.claims.judge import Claim, Quantity, Results, Table
from calogen.config import Source
from calogen.models.fastcalogan import FastCaloGanConfig
from calogen.reproduction import study_report
from calogen.reproduction.chi2_tables import CUT_REMARK
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.study import Outcome
from calogen.reproduction.study_report import Account, build_results, deviations, hyperparameters, join_results


def test_hyperparameters_of_all_networks() -> None:
    configs = {"one": FastCaloGanConfig(), "other": FastCaloGanConfig(latent_dim=100, seed=4)}
    networks, papers = (
        {name: network_of(config, made("low", [256.0, 512.0], 56.0)) for name, config in configs.items()},
        configs | {"one": configs["other"]},
    )
    table = hyperparameters(networks, papers, "Table 2: 6, 4")
    assert table.header == ("hyperparameter", "one", "other", "source (first network)")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["latent dim"][:2] == ("50", "100")
    assert rows["latent dim"][2].startswith("changed; the paper has 100 ")
    assert rows["generator units"][:2] == ("(50, 100, 200)",) * 2
    assert rows["seed"][:2] == ("0", "4")
    expected = ("29,910, 276,369", "32,410, 276,369", "Table 2: 6, 4")  # 50 more latent dimensions for 50 units
    assert rows["trainable parameters: generator, critic"] == expected
    assert len(rows) == len(table.rows) == len(vars(FastCaloGanConfig())) + 1


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return toy_outcome()


ACCOUNT = Account(
    name="toy",
    title="Toy",
    citation="a paper",
    originals=dict.fromkeys(("low", "upper", "single"), CONFIG),
    claims=(Claim("it works", "section 1", "it works", "it does", "reproduced"),),
    quantities=(Quantity("size", "MB", 1.0, 2.0),),
    tables={"more": Table(("a",), (("b",),))},
    remarks=(CUT_REMARK,),
)


def results(outcome: Outcome, account: Account = ACCOUNT, shown: int = 0, **options: Any) -> Results:
    given = Arguments(preset="smoke", seeds=(3, 4), runs=Path("runs"), options=GAN_VALUES | options)
    recorded = {"commit": "abc", "time": "2026-01-02T03:04:05+00:00"}
    return build_results(account, given, [outcome, replace(outcome, provenance={})], recorded, shown)


def test_results_hold_what_the_account_says_and_what_was_asked(outcome: Outcome) -> None:
    found = results(outcome, rule="fastcalogan", bfloat16=True)
    assert (found.name, found.title, found.paper) == ("toy", "Toy", "a paper")
    assert (found.claims, found.remarks[0]) == (ACCOUNT.claims, CUT_REMARK)
    assert "training seed 3. Claims and quantities: means over the 2 training seeds" in found.remarks[1]
    assert found.quantities == ACCOUNT.quantities
    hyper, more = found.tables.values()
    assert hyper.header[1:-1] == ("low", "upper", "single")
    assert (more, list(found.tables)[-1]) == (ACCOUNT.tables["more"], "more")
    about = dict(found.provenance)
    assert isinstance(about.pop("device"), str)
    assert about.pop("wall_time") > 0
    assert about.pop("training_time") == 1.5
    del about["time"]
    assert about == {
        "commit": "abc", "preset": "smoke", "seeds": [3, 4],
        "ablation": False, "merit": "energy", "rule": "fastcalogan", "bfloat16": True,
        "training": {"3": {"low": {"training_seconds": 1.5}}, "4": {}},
    }  # fmt: skip
    rows = [row for item in outcome.comparisons.together.values() for row in item.measurements]
    assert list(found.measurements) == rows


def test_another_seed_may_be_the_one_that_is_shown(outcome: Outcome) -> None:
    found = results(outcome, shown=1)
    assert "chi2 and hyperparameters: training seed 4. Claims" in found.remarks[1]
    given = Arguments(preset="smoke", seeds=(3, 4), runs=Path("runs"))
    compared: Any = SimpleNamespace(together={"total_energy": SimpleNamespace(measurements=("a row",))})
    both, recorded = [outcome, replace(outcome, comparisons=compared)], {"time": "2026-01-02T03:04:05+00:00"}
    assert build_results(ACCOUNT, given, both, recorded, 1).measurements == ("a row",)
    assert build_results(ACCOUNT, given, both, recorded).measurements == ()


def test_deviations_of_further_networks_are_those_that_differ() -> None:
    papers = dict.fromkeys(("low", "same", "upper"), CONFIG)
    first, *others = deviations({"low": CONFIG}, papers), deviations({"low": CONFIG, "same": CONFIG}, papers)
    assert others == [first]
    assert {source.name: source.value for source in first} == vars(CONFIG)
    upper = replace(CONFIG, latent_dim=7, critic_units=(4,))
    added: list[Source] = list(deviations({"low": CONFIG, "upper": upper}, papers)[len(first) :])
    assert sorted((source.name, source.value) for source in added) == [
        ("upper: critic_units", (4,)),
        ("upper: latent_dim", 7),
    ]
    (own,) = (source for source in added if source.name == "upper: latent_dim")
    assert own.source.startswith(f"changed; the paper has {CONFIG.latent_dim} ")
    found = deviations({"low": CONFIG, "upper": upper}, papers | {"upper": upper})[len(first) :]
    assert {source.kind for source in found if "units" not in source.name} == {"paper"}, "the paper's own"


def test_results_of_several_particles_stand_side_by_side(outcome: Outcome) -> None:
    photons = results(outcome)
    pions = results(outcome, replace(ACCOUNT, quantities=(Quantity("mass", "MB", 3.0, 4.0),), remarks=("more",)))
    assert join_results({"photons": photons}) is photons
    both = join_results({"photons": photons, "pions": pions})
    assert both.claims == ACCOUNT.claims, "once, if they are the same"
    assert both.remarks == (*photons.remarks, "more")
    assert both.deviations == photons.deviations
    assert [item.name for item in both.quantities] == [*(item.name for item in photons.quantities), "mass"]
    names = list(photons.tables)
    assert list(both.tables) == [f"{name}, {label}" for label in ("photons", "pions") for name in names]
    assert both.tables["more, pions"] == ACCOUNT.tables["more"]
    assert both.provenance["pions"] == pions.provenance
    assert both.provenance | {"photons": 0, "pions": 0} == {
        "preset": "smoke", "seeds": [3, 4], "device": photons.provenance["device"], "photons": 0, "pions": 0,
    }  # fmt: skip


def test_shared_code_knows_no_paper() -> None:
    """Names of networks, tables and figures are the experiment's."""
    for path in Path(study_report.__file__).parent.glob("*.py"):
        found = re.findall(r"arXiv:\S+|\bGANs?\b|\bTables? \d+|\bFig\. \d+", path.read_text(encoding="utf-8"))
        assert found == [], path.name
