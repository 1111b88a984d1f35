"""Numbers that papers state, with their places there: `data/published_<paper>.json`."""

from dataclasses import asdict, dataclass
from importlib import resources
from typing import NamedTuple

import pandas as pd

from calogen.files import read_json_table


@dataclass(frozen=True)
class PublishedNumber:
    """A number that a paper states, with its error if the paper gives one."""

    value: float
    unit: str
    source: str
    error: float | None = None


class PublishedChi2(NamedTuple):
    """A row of a paper's table of chi2: the momenta it covers, chi2 and NDF."""

    momenta: str
    chi2: float
    ndf: int

    @property
    def per_ndf(self) -> float:
        """chi2/NDF."""
        return self.chi2 / self.ndf


class Published:
    """The numbers of a paper.

    Args:
        paper: its name in that of the data file, e.g. `atlas_vae`.
    """

    def __init__(self, paper: str) -> None:
        with resources.as_file(resources.files("calogen").joinpath("data", f"published_{paper}.json")) as path:
            self._content = read_json_table(path)
        self.numbers = {name: PublishedNumber(**number) for name, number in self._content["numbers"].items()}

    def to_frame(self) -> pd.DataFrame:
        """A table of the single numbers: name, value, unit, source, error."""
        return pd.DataFrame([{"name": name, **asdict(number)} for name, number in self.numbers.items()])

    def chi2(self, table: str) -> dict[str, tuple[PublishedChi2, ...]]:
        """Rows of a table of chi2 by group of networks: one for each network, then their sum."""
        groups = self._content[table]["rows"]
        return {name: tuple(PublishedChi2(*row) for row in rows) for name, rows in groups.items()}

    def times(self, table: str, name: str | None = None) -> dict[float, PublishedNumber]:
        """Numbers of a table with their errors, by momentum in MeV or by batch size.

        If the table has several groups of rows, `name` chooses one.
        """
        content = self._content[table]
        rows = content["rows"] if name is None else content["rows"][name]
        unit, source = content["unit"], content["source"]
        return {float(key): PublishedNumber(value, unit, source, error) for key, (value, error) in rows.items()}
