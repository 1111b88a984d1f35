import pytest

from calogen.evaluation.published import Published

PAPER = Published("caloshowergan")
TABLE_3, TABLE_4 = PAPER.chi2("table_3"), PAPER.chi2("table_4")


@pytest.mark.parametrize("table", [TABLE_3, TABLE_4], ids=["3", "4"])
def test_caloshowergans_tables_add_up(table):
    """Sums and NDF: 28 for each momentum of each GAN, shared momenta twice."""
    for name, rows in table.items():
        *parts, last = rows
        if parts:
            assert last.momenta == "Sum"
            assert (last.chi2, last.ndf) == tuple(sum(column) for column in list(zip(*parts, strict=True))[1:]), name
        assert last.ndf == 28 * (14 + max(len(parts), 1)), name


def test_caloshowergans_quotients_are_the_printed_ones():
    printed = {"single": (3.7,), "two": (2.6, 3.4, 3.1), "three": (2.6, 2.7, 2.1, 2.5)}
    normalised = {"single": (2.7,), "two": (1.1, 2.3, 1.9), "three": (1.1, 2.3, 1.7, 1.8), "pion 1M": (1.5,)}
    normalised["pion 2M"] = (1.3,)
    for table, expected in ((TABLE_3, printed), (TABLE_4, normalised)):
        assert {name: tuple(round(row.chi2 / row.ndf, 1) for row in rows) for name, rows in table.items()} == expected
    assert TABLE_4["single"][0].per_ndf == 1131 / 420


def test_caloshowergans_times_and_sizes():
    batches, pions = PAPER.times("table_6"), PAPER.times("table_5", "pion")
    assert (batches[10000].value, batches[10000].error) == (70.8, 4.8)
    pion, first = pions[65536.0], batches[1]
    assert (pion.value, pion.error) == (first.value, first.error) == (6.3, 0.3)
    assert (pion.unit, pion.source[:7]) == ("ms", "Table 5")
    assert PAPER.times("table_5", "photon").keys() == pions.keys() == {2.0**10, 2.0**16, 2.0**20}
    sizes = {name: item.value for name, item in PAPER.numbers.items() if item.unit == "MB"}
    assert round(6 * sizes["json_photon"] + sizes["json_pion"]) == sizes["json_slice"]
