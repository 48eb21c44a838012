"""The name of a stream: its allowed characters, and that it is still a string."""

import copy
import pickle
import unicodedata
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventkit import InvalidEvent, InvalidStreamId, StreamId

categories = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
keys = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=200)


@given(categories, keys)
@example("order", "42-1")
@example("order", "-")
def test_a_stream_id_is_its_category_and_id_with_a_hyphen(category: str, key: str) -> None:
    """Both parts come back from the text, with any hyphens in the id."""
    stream = StreamId(category, key)

    assert stream == f"{category}-{key}"
    assert (stream.category, stream.key) == (category, key)
    assert StreamId.parse(str(stream)) == stream
    assert f"shop.{stream.category}".encode("ascii")


@given(st.text(max_size=260))
@example("order-\n")
@example("order-1\n")
@example("Order-1")
@example("order")
@example("order-")
@example("-1")
@example("order-" + "x" * 201)
@example("order-\x85")
def test_a_text_is_a_stream_id_or_refused(text: str) -> None:
    """`parse` returns the same text, or raises InvalidStreamId: never something else."""
    try:
        stream = StreamId.parse(text)
    except InvalidStreamId:
        return

    assert stream == text
    assert StreamId(stream.category, stream.key) == text
    assert not any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in text)


@pytest.mark.parametrize(
    ("category", "key"),
    [
        ("Order", "1"), ("order-line", "1"), ("", "1"), ("1st", "1"), ("a" * 65, "1"), ("order\n", "1"), ("ordér", "1"),
        ("order", ""), ("order", "a\x00b"), ("order", "a\nb"), ("order", "\ud800"),
        ("order", "x" * 201), ("order", "\u2028"),
        (None, "1"), ("order", None), ("order", True), ("order", 1.5), ("order", b"1"),
    ],
)  # fmt: skip
def test_a_bad_part_is_refused_with_its_value(category: object, key: object) -> None:
    """The error names the value and the rule, and is an InvalidEvent and a ValueError, too."""
    with pytest.raises(InvalidStreamId) as caught:
        StreamId(category, key)  # type: ignore[arg-type]

    assert isinstance(caught.value, InvalidEvent)
    assert repr(key)[:100] in str(caught.value) or repr(category)[:100] in str(caught.value)
    assert "1 to" in str(caught.value)


def test_ids_may_be_integers_and_uuids() -> None:
    """Keys of tables can be used as they are."""
    assert StreamId("order", 42) == "order-42"
    assert StreamId("order", UUID(int=1)) == "order-00000000-0000-0000-0000-000000000001"


def test_a_stream_id_survives_copy_and_pickle() -> None:
    """It can go to another process."""
    stream = StreamId("order", "a-b")

    assert pickle.loads(pickle.dumps(stream)) == stream  # noqa: S301 our own
    assert type(copy.deepcopy(stream)) is StreamId
