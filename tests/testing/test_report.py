"""The table of expected and actual."""

from dataclasses import dataclass

import msgspec
import pydantic

from eventkit.testing.report import lines_of, side_by_side


@dataclass(frozen=True)
class Long:
    """Too long for a line."""

    customer: str
    lines: list[str]
    note: str = ""


class Packed(msgspec.Struct):
    """The same as a Struct."""

    customer: str
    note: str


class Checked(pydantic.BaseModel):
    """The same in Pydantic."""

    customer: str
    note: str


def test_a_long_event_is_written_a_field_a_line() -> None:
    """So that the mark stands at the field that differs, and nowhere else."""
    one = Long("ada lovelace of london", ["a book about engines", "a pen"], "carefully")
    other = Long("ada lovelace of london", ["a book about engines", "two pens"], "carefully")

    rows = side_by_side([one], [other])[2:]

    assert [row[:56].strip() for row in rows if row[57] == "|"] == ["lines=['a book about engines', 'a pen'],"]
    assert rows[0].split() == ["Long(", "Long("]
    assert len(rows) == 5


def test_structs_models_and_dicts_are_opened_too() -> None:
    """Events of any kind of class."""
    long = "x" * 40

    for value in (Packed("ada", long), Checked(customer="ada", note=long)):
        assert lines_of(value) == [f"{type(value).__name__}(", "  customer='ada',", f"  note='{long}',", ")"]
    assert lines_of({"customer": "ada", "note": long}) == ["{", "  'customer': 'ada',", f"  'note': '{long}',", "}"]
    assert lines_of(("ada", long + long)) == ["(", "  'ada',", f"  '{long}{'x' * 10}", f"  {'x' * 30}',", ")"]


def test_missing_and_extra_lines_are_marked() -> None:
    """Equal lines are aligned, with any lines between them."""
    rows = side_by_side([1, 2, 3, 4], [1, 3, 4, 5])[2:]

    assert [row.split() for row in rows] == [["1", "1"], ["2", "<"], ["3", "3"], ["4", "4"], [">", "5"]]


def test_an_empty_result_is_shown_in_words() -> None:
    """An empty side is no empty column."""
    assert side_by_side([], [1])[2].split() == ["(nothing)", "|", "1"]
