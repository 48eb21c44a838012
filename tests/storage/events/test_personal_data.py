"""Personal data in the store: sealed at the append, opened when it is read, redacted when its subject is forgotten."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg import Connection, IsolationLevel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from eventkit import Append, Appended, ConcurrencyError, EventStore, Privacy
from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConfigurationError, InvalidEvent, SubjectForgotten, SubjectKeyMissing, UndecodableEvent
from eventkit.messaging.deadlines import Deadlines
from eventkit.storage import migrate
from eventkit.storage.events import encryption_of
from eventkit.storage.forget import rotate
from eventkit.storage.privacy import encryption
from eventkit.storage.timers import DueTimers
from tests.storage.people import (
    ADA,
    CANARY,
    MASTERS,
    ORDER,
    ORDERED,
    REDACTED,
    REDACTED_ORDER,
    REGISTERED,
    Counted,
    Ordered,
    crm,
    keyless,
    store,
)
from tests.storage.shop import sqlalchemy_url
from tests.waiting import wait_until

Work = Callable[[Connection], object]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection of the service's."""
    with psycopg.connect(database_url) as connection:
        yield connection


def another() -> EventStore:
    """Return the store of another process: with a cache of its own."""
    return EventStore(crm, master_keys=MASTERS)


def events(connection: Connection, stream: str, reader: EventStore | None = None) -> list[Any]:
    """Return a stream's events, as another process reads them."""
    return [envelope.event for envelope in (reader or another()).read_stream(connection, stream)]


def forget(connection: Connection, subject: str = ADA) -> bool:
    """Forget somebody, from another process."""
    return Privacy(another()).forget(connection, subject, reason="asked")


def keys(connection: Connection) -> list[tuple[Any, ...]]:
    """Return the subjects with a key, and the names of those who destroyed one."""
    return connection.execute(
        "select subject, key is not null, forgotten_by, reason from eventkit.subject_keys order by 1"
    ).fetchall()


@pytest.mark.both_postgres
def test_personal_data_is_sealed_in_the_row_and_opened_with_the_keys(connection: Connection) -> None:
    """In `read_stream` and `read_all`, forwards and backwards; a reader without keys gets redacted values."""
    store.append_many(connection, [Append(ADA, [REGISTERED, Counted(1)]), Append(ORDER, [ORDERED])])
    row = connection.execute("select data::text from eventkit.events where stream = 'order-1'").fetchone()

    assert row is not None
    assert CANARY not in row[0]
    assert '"$personal": {"customer-42": {"key": "' in row[0]
    assert events(connection, ADA) == [REGISTERED, Counted(1)]
    assert events(connection, ADA, keyless) == [REDACTED, Counted(1)]
    connection.commit()
    assert [e.event for e in store.read_all(connection)] == [REGISTERED, Counted(1), ORDERED]
    assert next(another().read_all(connection, backwards=True)).event == ORDERED
    assert keys(connection) == [("customer-42", True, None, None)]


def test_once_forgotten_everything_of_the_subject_reads_as_redacted(connection: Connection) -> None:
    """Events of others, and fields that are not personal, are as they were."""
    other = Ordered(43, ORDERED.to)
    store.append_many(connection, [Append(ADA, [REGISTERED]), Append(ORDER, [ORDERED, other])])

    assert forget(connection)

    assert (events(connection, ADA), events(connection, ORDER)) == ([REDACTED], [REDACTED_ORDER, other])
    assert keys(connection)[0] == ("customer-42", False, "postgres", "asked")
    assert not forget(connection)


def test_an_append_without_keys_is_refused_before_anything_is_written(connection: Connection) -> None:
    """Where there is personal data; others need none."""
    keyless.append(connection, ADA, Counted(1))

    with pytest.raises(ConfigurationError, match="set EVENTKIT_MASTER_KEYS"):
        keyless.append(connection, ADA, REGISTERED)
    assert events(connection, ADA) == [Counted(1)]


def test_new_data_of_a_forgotten_subject_is_refused_and_redacted_data_is_not(connection: Connection) -> None:
    """An order of a forgotten customer can be shipped: its state holds redacted values."""
    store.append(connection, ADA, REGISTERED)
    forget(connection)

    with pytest.raises(SubjectForgotten, match="'customer-42' was forgotten, and new personal data of it is refused"):
        store.append_many(connection, [Append(ORDER, [ORDERED]), Append(crm.stream("order", 2), [Counted(1)])])
    store.append(connection, ORDER, REDACTED_ORDER)

    assert events(connection, ORDER) == [REDACTED_ORDER]
    assert events(connection, "order-2") == []


def test_a_subject_can_be_forgotten_before_there_is_any_data_of_it(connection: Connection) -> None:
    """Then none is ever taken."""
    assert forget(connection, "customer-7")
    assert keys(connection)[0][:2] == ("customer-7", False)

    with pytest.raises(SubjectForgotten, match="customer-7"):
        store.append(connection, crm.stream("customer", 7), REGISTERED)


def test_a_readmitted_subject_has_a_new_key_and_the_old_data_stays_forgotten(connection: Connection) -> None:
    """Only who says so brings somebody back."""
    privacy = Privacy(another())
    store.append(connection, ADA, REGISTERED)
    forget(connection)

    assert privacy.readmit(connection, ADA)
    store.append(connection, ADA, REGISTERED)

    assert events(connection, ADA) == [REDACTED, REGISTERED]
    assert not privacy.readmit(connection, ADA)
    assert not privacy.readmit(connection, "nobody")
    with pytest.raises(ConfigurationError, match="give the EventStore its master_keys"):
        Privacy(keyless).readmit(connection, ADA)


def test_forgetting_belongs_to_the_callers_transaction(connection: Connection) -> None:
    """Rolled back, nothing was forgotten."""
    store.append(connection, ADA, REGISTERED)
    connection.commit()
    forget(connection)
    connection.rollback()

    assert events(connection, ADA, store) == [REGISTERED]


@contextmanager
def beside(url: str, work: Work) -> Iterator[list[object]]:
    """Do something in a transaction and a thread of its own; its result or its error is in the list at the end."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(in_transaction(url, work))
        except Exception as error:  # noqa: BLE001 the test looks at it
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield result
    thread.join(60)


def in_transaction(url: str, work: Work) -> object:
    """Do something in a transaction of its own."""
    with psycopg.connect(url) as connection:
        return work(connection)


def waits(connection: Connection) -> bool:
    """Whether another session waits for a lock."""
    row = connection.execute("select count(*) from pg_locks where not granted").fetchone()
    return row is not None and row[0] > 0


@pytest.mark.parametrize("known", [True, False])
def test_forgetting_waits_for_an_open_append_and_destroys_its_key(database_url: str, *, known: bool) -> None:
    """Events of the append are forgotten too, whether the key was there or is made by the append."""
    with psycopg.connect(database_url) as appending, psycopg.connect(database_url, autocommit=True) as looking:
        if known:
            store.append(appending, ADA, REGISTERED)
            appending.commit()
        store.append(appending, ADA, REGISTERED)
        with beside(database_url, forget) as forgotten:
            wait_until(lambda: waits(looking), timeout=60, what="forget to wait")
            appending.commit()

        assert forgotten == [True]
        assert set(map(repr, events(looking, ADA))) == {repr(REDACTED)}


@pytest.mark.parametrize("known", [True, False])
def test_an_append_waits_for_an_open_forgetting_and_is_refused(database_url: str, *, known: bool) -> None:
    """No race brings a subject back, or leaves data of it."""
    with psycopg.connect(database_url) as forgetting, psycopg.connect(database_url, autocommit=True) as looking:
        if known:
            store.append(forgetting, ADA, REGISTERED)
            forgetting.commit()
        forget(forgetting)
        with beside(database_url, lambda c: another().append(c, ADA, REGISTERED)) as appended:
            wait_until(lambda: waits(looking), timeout=60, what="the append to wait")
            forgetting.commit()

        assert [type(one) for one in appended] == [SubjectForgotten]
        assert len(events(looking, ADA)) == int(known)
        assert [row[1] for row in keys(looking)] == [False]


def test_two_first_appends_of_a_subject_share_one_key(database_url: str) -> None:
    """The second waits for the first, and takes its key."""
    with psycopg.connect(database_url) as first, psycopg.connect(database_url, autocommit=True) as looking:
        store.append(first, ADA, REGISTERED)
        with beside(database_url, lambda c: another().append(c, ORDER, ORDERED)) as second:
            wait_until(lambda: waits(looking), timeout=60, what="the second append to wait")
            first.commit()

        assert isinstance(second[0], Appended)
        assert (events(looking, ADA), events(looking, ORDER)) == ([REGISTERED], [ORDERED])


def test_a_snapshot_that_is_older_than_the_forgetting_cannot_append(database_url: str) -> None:
    """Under REPEATABLE READ the transaction is aborted, and says so."""
    with psycopg.connect(database_url) as old:
        store.append(old, ADA, REGISTERED)
        old.commit()
        old.isolation_level = IsolationLevel.REPEATABLE_READ
        old.execute("select 1")
        in_transaction(database_url, forget)

        with pytest.raises(ConcurrencyError) as refused:
            store.append(old, ADA, REGISTERED)
    assert not refused.value.transaction_usable


def test_a_repeated_append_with_the_same_ids_is_a_success(connection: Connection) -> None:
    """After an unknown commit; the event that is there stays as it was sealed."""
    first = store.append(connection, ADA, REGISTERED)

    again = store.append(connection, ADA, REGISTERED, ids=first.ids)

    assert again == first
    assert events(connection, ADA) == [REGISTERED]


async def test_asynchronous_sessions_seal_open_and_forget(database_url: str) -> None:
    """The same steps on every kind of connection."""
    engine = create_async_engine(sqlalchemy_url(database_url))
    async with AsyncSession(engine) as session:
        await store.append_async(session, ADA, REGISTERED)
        assert [e.event async for e in store.read_stream_async(session, ADA)] == [REGISTERED]
        assert await Privacy(store).forget_async(session, ADA)
        assert [e.event async for e in store.read_stream_async(session, ADA)] == [REDACTED]
        assert await Privacy(store).readmit_async(session, ADA)
        await session.commit()
    await engine.dispose()


def test_sessions_of_sqlalchemy_seal_and_open(database_url: str) -> None:
    """And its log of statements has nothing to show."""
    engine = sqlalchemy.create_engine(sqlalchemy_url(database_url))
    with Session(engine) as session:
        store.append(session, ADA, REGISTERED)

        assert [e.event for e in another().read_stream(session, ADA)] == [REGISTERED]
    engine.dispose()


def test_a_process_reads_a_forgotten_subject_for_as_long_as_it_keeps_keys(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own forgetting it notices at once, another's when the key is too old; so the time is bounded."""
    here = another()
    store.append(connection, ADA, REGISTERED)
    assert events(connection, ADA, here) == [REGISTERED]
    forget(connection)
    assert events(connection, ADA, here) == [REGISTERED]

    monkeypatch.setattr(encryption_of(here).cache, "_seconds", 0.0)
    assert events(connection, ADA, here) == [REDACTED]


def test_the_cache_of_keys_is_bounded(connection: Connection) -> None:
    """The oldest keys are thrown away first."""
    here = another()
    encryption_of(here).cache = encryption.KeyCache(kept=2)
    for key in (1, 2, 3):
        store.append(connection, crm.stream("customer", key), REGISTERED)
        assert events(connection, f"customer-{key}", here) == [REGISTERED]

    assert [key.subject for key in encryption_of(here).cache._keys] == ["customer-2", "customer-3"]


def test_one_store_for_two_databases_takes_no_key_for_another(database_url: str, empty_database_url: str) -> None:
    """A subject of the same name has another key there: keys are known by ids of their own."""
    here = another()
    migrate.upgrade(empty_database_url, "eventkit", "head")
    for url in (database_url, empty_database_url):
        with psycopg.connect(url) as connection:
            here.append(connection, ADA, REGISTERED)

            assert events(connection, ADA, here) == [REGISTERED]


def test_a_page_reads_the_keys_that_it_needs_in_one_statement(connection: Connection) -> None:
    """Never a query an event."""
    for key in range(20):
        store.append(connection, ORDER, Ordered(key, ORDERED.to))
    with counted_statements() as statements:
        assert len(events(connection, ORDER)) == 20

    assert sum("subject_keys" in statement for statement in statements) == 1


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Yield the statements that are run."""
    statements: list[str] = []
    execute: Any = psycopg.Cursor.execute

    def counting(cursor: object, query: str, *arguments: object) -> object:
        statements.append(query)
        return execute(cursor, query, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", counting)
        yield statements


def test_sealed_data_that_was_moved_to_another_event_is_undecodable(connection: Connection) -> None:
    """Who can write into the table cannot make one person's data another's: it is not taken for redacted either."""
    store.append(connection, ORDER, ORDERED, Ordered(42, ORDERED.to, 6))
    connection.execute("set session_replication_role = replica")
    connection.execute("alter table eventkit.events disable trigger events_append_only")
    connection.execute(
        "update eventkit.events set data = (select data from eventkit.events where version = 1) where version = 2"
    )

    with pytest.raises(UndecodableEvent, match="Ordered at version 2 of 'order-1': the personal data of 'customer-42'"):
        events(connection, ORDER)


def test_a_reader_with_keys_that_looks_in_the_wrong_place_gets_an_error(connection: Connection) -> None:
    """A missing row is no forgotten subject: nothing is taken for redacted by mistake."""
    store.append(connection, ADA, REGISTERED)
    connection.execute("delete from eventkit.subject_keys")

    with pytest.raises(SubjectKeyMissing, match="the key of subject 'customer-42' is not in this database"):
        events(connection, ADA)
    store.append(connection, ADA, REGISTERED)
    stranger = EventStore(crm, master_keys=MasterKeys.parse(MasterKeys.generate("other")))
    with pytest.raises(ConfigurationError, match="which is not among those given"):
        events(connection, ADA, stranger)


def test_a_deadline_with_personal_data_is_sealed_while_it_waits(connection: Connection) -> None:
    """It fires without any key, and can be forgotten before."""
    deadlines = Deadlines(store)
    deadlines.set(connection, ORDER, ORDERED, timedelta(0))
    row = connection.execute("select data::text from eventkit.timers").fetchone()
    assert row is not None
    assert CANARY not in row[0]
    connection.commit()
    connection.execute("insert into eventkit.leases values ('timers', 1, 'me', now())")
    connection.commit()

    DueTimers(connection, "eventkit", epoch=1).fire()
    assert events(connection, ORDER) == [ORDERED]
    forget(connection)

    assert events(connection, ORDER) == [REDACTED_ORDER]


def test_rotation_wraps_every_key_by_the_current_master_key(database_url: str) -> None:
    """Data stays as it is; the old master key is not needed any more, and opens nothing."""
    old, new = MasterKeys.generate("old"), MasterKeys.generate("new")
    before, both = MasterKeys.parse(old), MasterKeys.parse(f"{new},{old}")
    with psycopg.connect(database_url, autocommit=True) as connection, psycopg.connect(database_url) as appending:
        with connection.transaction():
            EventStore(crm, master_keys=before).append(connection, ADA, REGISTERED)
            EventStore(crm, master_keys=before).append(connection, ORDER, Ordered(43, ORDERED.to))
            forget(connection, "customer-1")
        EventStore(crm, master_keys=before).append(appending, ADA, REGISTERED)

        assert rotate(connection, "eventkit", both) == (1, 1)
        appending.commit()
        assert rotate(connection, "eventkit", both) == (1, 0)
        assert rotate(connection, "eventkit", both) == (0, 0)
        reader = EventStore(crm, master_keys=MasterKeys.parse(new))
        assert events(connection, ADA, reader) == [REGISTERED, REGISTERED]


@pytest.mark.parametrize(
    ("subject", "reason"), [("", None), ("a\nb", None), ("a" * 501, None), ("a", "x" * 501), ("a", "\x00")]
)
def test_a_subject_that_cannot_be_recorded_is_refused(connection: Connection, subject: str, reason: str | None) -> None:
    """The record is read by people."""
    with pytest.raises(InvalidEvent, match="cannot be recorded: give 1 to 500 printable characters"):
        Privacy(store).forget(connection, subject, reason=reason)
