"""Numbers that papers state, with their places: `data/published_<paper>.json`."""

from dataclasses import asdict, dataclass
from importlib import resources
from typing import NamedTuple

import pandas as pd

from calogen.files import read_json_table


@dataclass(frozen=True)
class PublishedNumber:
    """A number that a paper states, with its error if the paper states one."""

    value: float
    unit: str
    source: str
    error: float | None = None


class PublishedChi2(NamedTuple):
    """A row of a paper's table of chi2: which momenta, chi2, NDF."""

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
        paper: as the data file has it, e.g. `atlas_vae`.
    """

    def __init__(self, paper: str) -> None:
        with resources.as_file(resources.files("calogen").joinpath("data", f"published_{paper}.json")) as path:
            self._content = read_json_table(path)
        self.numbers = {name: PublishedNumber(**number) for name, number in self._content["numbers"].items()}

    def to_frame(self) -> pd.DataFrame:
        """A table of the single numbers: name, value, unit, source, error."""
        return pd.DataFrame([{"name": name, **asdict(number)} for name, number in self.numbers.items()])

    def chi2(self, table: str) -> dict[str, tuple[PublishedChi2, ...]]:
        """Rows of a table of chi2 by what they are of: each network's, the sum last."""
        rows = self._content[table]["rows"]
        return {name: tuple(PublishedChi2(*row) for row in found) for name, found in rows.items()}

    def times(self, table: str, name: str | None = None) -> dict[float, PublishedNumber]:
        """Numbers with errors of a table, by momentum in MeV or by batch size.

        Of one name, if the table has several.
        """
        found = self._content[table]
        rows = found["rows"] if name is None else found["rows"][name]
        about = found["unit"], found["source"]
        return {float(key): PublishedNumber(value, *about, error) for key, (value, error) in rows.items()}
