"""On a caller's session nothing is assumed and nothing changed: formats, factories and loaders are the caller's."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.adapt import Loader
from psycopg.rows import dict_row
from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.orm import Session

from eventkit import Append, Deadlines, EventStore, Privacy
from eventkit.errors import UnsupportedConnection
from tests.faults.shop import Noted, shop

store = EventStore(shop)

SESSIONS = {
    "DateStyle": "set DateStyle = 'German'",
    "IntervalStyle": "set IntervalStyle = 'sql_standard'",
    "TimeZone": "set TimeZone = 'Asia/Kathmandu'",
    "search_path": "set search_path = ''",
    "bytea_output": "set bytea_output = 'escape'",
    "extra_float_digits": "set extra_float_digits = -15",
    "standard_conforming_strings": "set standard_conforming_strings = off",
    "array_nulls": "set array_nulls = off",
    "transform_null_equals": "set transform_null_equals = on",
    "quote_all_identifiers": "set quote_all_identifiers = on",
    "row_security": "set row_security = off",
    "plan_cache_mode": "set plan_cache_mode = force_generic_plan",
    "synchronous_commit": "set synchronous_commit = remote_apply",
    "enable_indexscan": "set enable_indexscan = off",
    "lc_messages": "set lc_messages = 'C'",
    "serializable": "set default_transaction_isolation = 'serializable'",
    "repeatable read": "set default_transaction_isolation = 'repeatable read'",
}
# The settings of plpgsql are there from its first function on.
_ALL = """select name, setting from pg_settings
 where source in ('session', 'default', 'client') and name not like 'plpgsql.%' order by name"""


class Shouting(Loader):
    """Reads a value as text with a mark."""

    def load(self, data: Any) -> str:  # noqa: ANN401 the base's
        """Return text that is no number."""
        return f"<{bytes(data).decode()}>"


def with_loaders(connection: psycopg.Connection[Any]) -> None:
    """Read numbers, text and times in a way that no library expects."""
    for kind in ("int2", "int4", "int8", "text", "timestamptz", "uuid", "jsonb", "json"):
        connection.adapters.register_loader(kind, Shouting)


def use(connection: Any, *, isolation_allows_reading_all: bool = True) -> None:  # noqa: ANN401 any session
    """Do everything that a service may do on its own session, and compare."""
    stream, other = shop.stream("order", uuid.uuid4().hex), shop.stream("order", uuid.uuid4().hex)
    first = store.append(connection, stream, Noted(1, "10 €, 東京"), Noted(2))
    many = store.append_many(connection, [Append(stream, [Noted(3)]), Append(other, [Noted(4)])])
    due = datetime(2099, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    found = Deadlines(store).set(connection, stream, Noted(9), due)
    Deadlines(store).set(connection, other, Noted(9), timedelta(hours=1))

    assert (first.version, [item.version for item in many]) == (2, [3, 1])
    assert found == due
    assert Deadlines(store).cancel(connection, stream, Noted)
    assert [envelope.event for envelope in store.read_stream(connection, stream)] == [
        Noted(1, "10 €, 東京"), Noted(2), Noted(3),
    ]  # fmt: skip
    times = [envelope.recorded_at for envelope in store.read_stream(connection, stream)]
    assert all(abs(time - datetime.now(UTC)) < timedelta(minutes=5) for time in times)
    if isolation_allows_reading_all:
        assert len(list(store.read_all(connection))) >= 4
    assert Privacy(store).forget(connection, f"customer-{uuid.uuid4().hex}")


@contextmanager
def psycopg_session(url: str, prepare: Callable[[psycopg.Connection[Any]], object]) -> Iterator[Any]:
    """Lend a connection of psycopg."""
    with psycopg.connect(url) as connection:
        prepare(connection)
        connection.commit()
        yield connection


@contextmanager
def sqlalchemy_session(url: str, prepare: Callable[[psycopg.Connection[Any]], object]) -> Iterator[Any]:
    """Lend a Session of SQLAlchemy."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    event.listen(engine, "connect", lambda driver, _record: (prepare(driver), driver.commit()))
    with Session(engine) as session:
        yield session


KINDS = {"psycopg": psycopg_session, "sqlalchemy": sqlalchemy_session}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SESSIONS)
def test_a_setting_of_the_caller_changes_nothing(database_url: str, name: str, kind: str) -> None:
    """Events, versions, times and deadlines come back as they were given, under any of these settings."""
    with KINDS[kind](database_url, lambda connection: connection.execute(SESSIONS[name])) as session:
        use(session, isolation_allows_reading_all=name not in {"serializable", "repeatable read"})


@pytest.mark.parametrize("kind", KINDS)
def test_loaders_of_the_caller_are_the_callers(database_url: str, kind: str) -> None:
    """A service with its own way of reading numbers, text or times keeps it; ours is not affected."""
    with KINDS[kind](database_url, with_loaders) as session:
        use(session)


@pytest.mark.parametrize("cursor", [psycopg.ClientCursor, psycopg.RawCursor, psycopg.Cursor])
def test_factories_of_the_caller_are_the_callers(database_url: str, cursor: Any) -> None:  # noqa: ANN401 three kinds
    """Rows as dictionaries, cursors that bind in the client or write `$1`: no statement of eventkit depends on them."""
    with psycopg.connect(database_url, row_factory=dict_row, cursor_factory=cursor, prepare_threshold=None) as session:
        use(session)

        assert session.execute("select 1 as one").fetchone() == {"one": 1}


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
@pytest.mark.parametrize("kind", KINDS)
def test_another_client_encoding_is_refused(database_url: str, encoding: str, kind: str) -> None:
    """Before anything is written, with the encoding and the remedy; the session stays usable."""
    prepare = f"set client_encoding = {encoding}"
    with KINDS[kind](database_url, lambda connection: connection.execute(prepare)) as session:
        for attempt in (
            lambda: store.append(session, shop.stream("order", 1), Noted(1)),
            lambda: list(store.read_stream(session, shop.stream("order", 1))),
        ):
            with pytest.raises(UnsupportedConnection, match=f"client_encoding is {encoding}.*client_encoding=utf8"):
                attempt()


def test_nothing_of_the_callers_session_is_changed(database_url: str) -> None:
    """After the caller's commit every setting is as it was before."""
    with psycopg.connect(database_url) as session:
        session.execute("set DateStyle = 'German'; set synchronous_commit = off")
        before = session.execute(_ALL).fetchall()
        session.commit()
        use(session)
        session.commit()

        assert session.execute(_ALL).fetchall() == before
