"""The text of a dead letter's data in an editor: indented, and never another value."""

import pytest

from eventkit.errors import DeadLetterError
from eventkit.storage.dead_letters import Filed, editable_text

LETTER = dict.fromkeys(Filed.__struct_fields__)


def text(data: bytes) -> str:
    """Return the text of a letter with this data."""
    return editable_text(Filed(**(LETTER | {"id": 7, "data": data})))  # type: ignore[arg-type] # the rest is not read


@pytest.mark.parametrize(
    "data",
    [
        '{"a":12345678901234567.89}',
        '{"a":1e400}',
        '{"a":1.10}',
        '{"a":-0}',
        '{"a":1,"a":2}',
        '{"a":"\\ud800"}',
        '{"a":',
        "[" * 100_000,
    ],
    ids=["many digits", "beyond a float", "a zero at the end", "minus zero", "twice", "half", "no JSON", "deep"],
)
def test_data_that_indenting_would_change_is_shown_as_it_is(data: str) -> None:
    """Digits, zeros and repeated names are what the letter holds, so an edit of another field keeps them."""
    assert text(data.encode()) == data


def test_other_data_is_indented() -> None:
    """Also with letters beyond ASCII."""
    assert text('{"a":{"é":[1,2.5,"x"]}}'.encode()).splitlines()[:3] == ["{", '  "a": {', '    "é": [']


def test_data_that_is_no_text_cannot_be_edited() -> None:
    """It would be saved with other bytes."""
    with pytest.raises(DeadLetterError, match="letter 7 is not UTF-8"):
        text(b'{"a":"\xff"}')
