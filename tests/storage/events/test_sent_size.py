"""The size that is checked and noted at the append is the size that PostgreSQL gives back, and the relay sends."""

import json
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventkit import Catalog, EventStore, EventTooLarge
from eventkit.domain.codec.jsonb import keep_floats, stored_size

numbers = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: str(number) != "-0.0") | st.integers()
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.from_regex(r'[,:"\\1e5 ]{0,9}', fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


@given(st.lists(values, max_size=20))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_a_size_is_counted_as_postgresql_writes_it(database_url: str, value: list[Any]) -> None:
    """For any JSON: spaces, escapes, numbers; and each float stays one."""
    data = keep_floats(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    with psycopg.connect(database_url) as connection:
        row = connection.execute("select %s::jsonb::text", [data.decode()]).fetchone()

    assert row is not None
    assert stored_size(data) == len(row[0].encode())
    assert "{" in row[0] or repr(json.loads(row[0])) == repr(value)  # the order of keys is jsonb's


@dataclass(frozen=True)
class Measured:
    """Numbers that jsonb writes longer than JSON does."""

    values: list[float]


@pytest.mark.parametrize(("values", "refused"), [([1e308] * 100_000, True), ([1e300] * 2_000, False), ([1], False)])
def test_a_sent_message_is_never_above_the_limit(database_url: str, values: list[float], refused: bool) -> None:  # noqa: FBT001 a column
    """Numbers with exponents are counted as they are sent, and the outbox knows their size."""
    shop = Catalog("shop")
    shop.event(Measured)
    store = EventStore(shop)
    with psycopg.connect(database_url) as connection:
        if refused:
            with pytest.raises(EventTooLarge, match="as PostgreSQL keeps and sends it"):
                store.append(connection, "sensor-1", Measured(values))
            return
        store.append(connection, "sensor-1", Measured(values))

        row = connection.execute(
            """select bytes, octet_length(data::text) + octet_length(metadata::text) from eventkit.outbox
                 join eventkit.events using (position)"""
        ).fetchone()

    assert row is not None
    assert row[0] == row[1] <= shop.max_bytes


@dataclass(frozen=True)
class Noted:
    """Text of any language, and a number."""

    text: str
    number: float


@pytest.mark.parametrize("noted", [Noted("a", 1.5), Noted('ä "quoted" \\ 1e5 ,: ☃', 1e300), Noted("", 1e-7)])
@pytest.mark.parametrize("metadata", [None, {"user": 'Zoë ☃ "x"', "factor": 1e20}])
def test_the_outbox_knows_the_size_of_one_event_and_of_several(
    database_url: str, noted: Noted, metadata: dict[str, Any] | None
) -> None:
    """Of one event the client counts it, of several the server: both are the size that is sent."""
    shop = Catalog("shop")
    shop.event(Noted)
    store = EventStore(shop)
    with psycopg.connect(database_url) as connection:
        store.append(connection, "note-1", noted, metadata=metadata)
        store.append(connection, "note-2", noted, noted, metadata=metadata)

        rows = connection.execute(
            """select bytes, octet_length(data::text) + octet_length(metadata::text) from eventkit.outbox
                 join eventkit.events using (position)"""
        ).fetchall()

    assert len({size for row in rows for size in row}) == 1
    assert len(rows) == 3
