"""The page *Metrics* of the documentation and the list of instruments hold each other."""

import re
from pathlib import Path

from eventkit.observability import metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(?P<name>eventkit_\w+)` \((?P<kind>\w+)(?P<rest>[^)]*)\) \| [^|]+ \|", re.MULTILINE)


def rows() -> dict[str, re.Match[str]]:
    """Return the rows of the page's tables by metric."""
    return {row["name"]: row for row in ROW.finditer(PAGE.read_text())}


def test_the_page_has_a_row_for_each_metric_and_no_other() -> None:
    """A metric without a row, and a row without a metric, fail."""
    assert set(rows()) == {instrument.name for instrument in metrics.INSTRUMENTS}


def test_a_row_has_the_kind_the_unit_and_the_labels() -> None:
    """The brackets of a row say what a query has to know."""
    for instrument in metrics.INSTRUMENTS:
        row = rows()[instrument.name]
        said = row["rest"]
        assert row["kind"] == instrument.kind, instrument.name
        assert instrument.unit in said, instrument.name
        assert all(f"`{label}`" in said or label == "projection" for label in instrument.labels), instrument.name


def test_every_name_on_the_page_is_a_metric() -> None:
    """A name in the text or in an example is one of the list."""
    known = {instrument.name for instrument in metrics.INSTRUMENTS}

    assert set(re.findall(r"`(eventkit_[a-z_]+)`", PAGE.read_text())) - known == {"eventkit_reader"}
