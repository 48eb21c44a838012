"""The cause of each of PostgreSQL's errors, for everything that acts on events: the event, or a fault to wait out.

A trigger raises the error in the transaction of the batch; a handler raises an error of a connection of its own.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError

import httpx
import psycopg
import pytest
import redis
import sqlalchemy as sa
from psycopg import errors

from eventkit import Deadlines, EventStore, Handlers, ProcessManager, Responder, Retry, SqlProjection, TableProjection
from eventkit.errors import EventkitError, StorageError
from eventkit.messaging.timer_worker import SESSION, TimerWorker
from eventkit.projection.apply import transaction_retry
from eventkit.projection.define.projection import Projection
from eventkit.projection.dispatch import Handler, Policy, Step, raised_by
from eventkit.projection.failure.error_class import ErrorClass, classify_error
from eventkit.storage.db.connection import connect
from eventkit.worker import PASSING
from tests.projection.shop import CREATE, TOTALS, Left, Ordered, apply, orders, rows, shop

REFUSE = """create table refusing (state text);
create function refuse() returns trigger language plpgsql as $$ declare s text; begin
  select state into s from refusing;
  if s is not null then raise exception 'no such luck' using errcode = s; end if;
  return new;
end $$"""
ONCE = Retry(attempts=1)
EVENT, AGAIN, MENDED = "parked", "waited for", "stops until it is mended"


def expected(state: str) -> str:
    """Return the effect of an error in the batch's own transaction."""
    if state.startswith(("22", "23", "P0")):
        return EVENT
    passing = ("08", "40", "53", "55P03", "57P", "58", "XX", "25P03", "25P04", "25006")
    return AGAIN if state.startswith(passing) and state != "53400" else MENDED


def states() -> list[str]:
    """Return two of each class of errors, and those that are distinguished within their class."""
    by_class: dict[str, list[str]] = {}
    for state in sorted(name for name in errors._sqlcodes if len(name) == 5):
        by_class.setdefault(state[:2], []).append(state)
    two = {state for found in by_class.values() for state in (found[0], found[-1])}
    return sorted({*two, "25006", "25P03", "25P04", "42501", "42703", "42P01", "53400", "55P03", "57014", "57P01"})


def add(connection: sa.Connection, event: Ordered) -> None:
    """Write a row, which the trigger refuses."""
    connection.exec_driver_sql("insert into totals values (%s, 1, 1)", (event.customer,))


def reply(connection: sa.Connection, event: Ordered) -> Left:
    """Write a row, and answer."""
    add(connection, event)
    return Left(event.customer)


def table() -> Projection:
    """Return a table projection."""
    projection = TableProjection("table", shop, table=TOTALS, key="customer", retry=ONCE)
    projection.on(Ordered)(lambda row, event: setattr(row, "orders", event.amount))
    return projection


def statements() -> Projection:
    """Return a projection of statements."""
    projection = SqlProjection("statements", shop, retry=ONCE)
    projection.on(Ordered)(add)
    return projection


def acting() -> Projection:
    """Return handlers."""
    projection = Handlers("acting", shop, retry=ONCE)
    projection.on(Ordered)(add)
    return projection


def process() -> Projection:
    """Return a process manager."""
    projection = ProcessManager("process", EventStore(shop), table=TOTALS, key="customer", retry=ONCE)
    projection.on(Ordered)(lambda row, event: setattr(row, "orders", event.amount))
    return projection


def responder() -> Projection:
    """Return a responder."""
    projection = Responder("responder", EventStore(shop), categories=["order"])
    projection.on(Ordered)(reply)
    return projection


@pytest.mark.parametrize("kind", [table, statements, acting, process, responder], ids=lambda kind: kind.__name__)
def test_the_database_decides_for_all_kinds_alike(
    database_url: str, kind: Callable[[], Projection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each class of SQLSTATE: only errors about the event's data park."""
    monkeypatch.setattr(transaction_retry, "CONTENTION_ATTEMPTS", 1)
    with psycopg.connect(database_url) as connection:
        connection.execute(f"{CREATE};{REFUSE};".encode())
        connection.execute(
            "create trigger refuse before insert or update on totals for each row execute function refuse()"
        )
    found = {state: _outcome(database_url, state, kind()) for state in states()}

    wanted = {state: expected(state) for state in states()}
    if kind in (table, process):
        wanted["21000"] = EVENT  # there it says that keys are several to Python and one to the database
    assert found == wanted


def _outcome(url: str, state: str, projection: Projection) -> str:
    with psycopg.connect(url) as connection:
        connection.execute("truncate refusing, totals")
        connection.execute("insert into refusing values (%s)", (state,))
    try:
        apply(url, orders(f"order-{state}", 1), projection=projection)
    except PASSING:
        outcome = AGAIN
    except EventkitError:
        outcome = MENDED
    else:
        outcome = "applied"
    parked = rows(url, f"select cause from eventkit.dead_letters where stream = 'order-{state}'")
    return EVENT if parked == [("failed",)] and outcome == "applied" else outcome if not parked else f"{parked}"


@pytest.mark.parametrize("state", ["22003", "23514", "P0001"])
def test_a_deadline_whose_event_is_refused_holds_up_no_other(database_url: str, state: str) -> None:
    """It stays, and fires when the reason is gone."""
    deadlines = Deadlines(EventStore(shop))
    with psycopg.connect(database_url) as connection:
        for number in range(3):
            deadlines.set(connection, f"order-{number}", Left(str(number)), timedelta(0))
        connection.execute(
            f"create function refuse() returns trigger language plpgsql as $$ begin if new.stream = 'order-1' then"
            f" raise exception 'no' using errcode = '{state}'; end if; return new; end $$;"
            "create trigger refuse before insert on eventkit.events for each row execute function refuse()".encode()
        )

    assert _timers(database_url).fire() == 2
    assert rows(database_url, "select stream from eventkit.timers") == [("order-1",)]
    with psycopg.connect(database_url) as connection:
        connection.execute("drop trigger refuse on eventkit.events")
    assert _timers(database_url).fire() == 1


@pytest.mark.parametrize("state", ["0A000", "42703", "42501", "55000", "57014"])
def test_deadlines_wait_until_the_database_is_repaired(database_url: str, state: str) -> None:
    """One sentence with PostgreSQL's words; none is lost."""
    with psycopg.connect(database_url) as connection:
        Deadlines(EventStore(shop)).set(connection, "order-1", Left("1"), timedelta(0))
        connection.execute(
            f"create function refuse() returns trigger language plpgsql as $$ begin"
            f" raise exception 'not so' using errcode = '{state}'; end $$;"
            "create trigger refuse before insert on eventkit.events for each row execute function refuse()".encode()
        )

    with pytest.raises(StorageError, match="not so"):
        _timers(database_url).fire()

    assert rows(database_url, "select stream from eventkit.timers") == [("order-1",)]


def _timers(url: str) -> TimerWorker:
    def connected(name: str) -> psycopg.Connection[Any]:
        return connect(url, name=name, autocommit=True, options=SESSION)

    return TimerWorker(connected, schema="eventkit", owner="a test")


class Down(Exception):
    """A client's error that derives from none of Python's."""


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return an error as `raise … from` makes it."""
    error.__cause__ = cause
    return error


def status(code: int) -> Exception:
    """Return httpx's error for an answer."""
    request = httpx.Request("GET", "http://rates")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code, request=request))


def refused_by_a_client() -> Exception:
    """Return httpx's error where nobody listens."""
    try:
        httpx.get("http://127.0.0.1:1", timeout=5)
    except httpx.HTTPError as error:
        return error
    raise AssertionError


def unreachable() -> Exception:
    """Return psycopg's error where nobody listens: it has no SQLSTATE."""
    try:
        psycopg.connect("host=127.0.0.1 port=1 dbname=other", connect_timeout=5)
    except psycopg.OperationalError as error:
        return error
    raise AssertionError


def wrapped_by_sqlalchemy() -> Exception:
    """Return SQLAlchemy's error for it."""
    try:
        sa.create_engine("postgresql+psycopg://127.0.0.1:1/other").connect()
    except sa.exc.OperationalError as error:
        return error
    raise AssertionError


def timed_out() -> Exception:
    """Return asyncio's error for a time limit."""

    async def wait() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    try:
        asyncio.run(wait())
    except TimeoutError as error:
        return error
    raise AssertionError


class WrongUrl(OSError, ValueError):
    """As requests says that a URL is none."""


AWAY: list[Callable[[], Exception]] = [
    unreachable,
    wrapped_by_sqlalchemy,
    refused_by_a_client,
    timed_out,
    lambda: OSError("no route"),
    MemoryError,
    lambda: caused(Down(), ConnectionResetError()),
    lambda: caused(ValueError(), caused(Down(), TimeoutError())),
    lambda: caused(Down(), unreachable()),
    lambda: ExceptionGroup("", [OSError(), TimeoutError()]),
    lambda: ExceptionGroup("", [ExceptionGroup("", [unreachable()])]),
    lambda: caused(Down(), ExceptionGroup("", [OSError()])),
    lambda: Down(ConnectionResetError()),
    lambda: httpx.RemoteProtocolError("Server disconnected without sending a response."),
    lambda: redis.exceptions.ConnectionError("connection closed by server"),
    lambda: status(503),
    lambda: status(429),
    lambda: HTTPError("http://rates", 502, "", None, None),  # type: ignore[arg-type]
    lambda: errors.lookup("57014")("its statement took too long"),
    lambda: errors.lookup("57P01")("it was shut down"),
    lambda: errors.lookup("25006")("it is a standby now"),
]
OF_THE_EVENT: list[Callable[[], Exception]] = [
    ValueError,
    Down,
    WrongUrl,
    lambda: status(404),
    lambda: status(422),
    lambda: HTTPError("http://rates", 400, "", None, None),  # type: ignore[arg-type]
    lambda: ExceptionGroup("", [OSError(), KeyError()]),
    lambda: errors.lookup("23505")("in another database"),
    lambda: caused(Down(), errors.lookup("22003")("in another database")),
]


def _raised(error: Exception) -> Exception:
    def function() -> None:
        """Do nothing."""

    handler = Handler("shop", "Ordered", function, takes_envelope=False, policy=Policy(Retry(), None))
    raised_by(Step(handler, None, None, "order-1"), error)
    return error


@pytest.mark.parametrize("make", AWAY, ids=[f"{number}" for number in range(len(AWAY))])
def test_an_error_that_is_not_about_the_event_is_waited_for(make: Callable[[], Exception]) -> None:
    """On a handler's own connection, also where a library has wrapped it."""
    assert classify_error(_raised(make()), own_transaction=False) is ErrorClass.AWAY


@pytest.mark.parametrize("make", OF_THE_EVENT, ids=[f"{number}" for number in range(len(OF_THE_EVENT))])
def test_an_error_about_the_event_is_not_waited_for(make: Callable[[], Exception]) -> None:
    """Nor where it comes together with an absence."""
    assert classify_error(_raised(make()), own_transaction=False) is ErrorClass.EVENT


def test_an_exception_group_about_the_deployment_parks_nothing() -> None:
    """A bug of the event's beside it is found when that is repaired."""
    group = ExceptionGroup("", [ValueError(), errors.lookup("42703")("column is gone"), OSError()])

    assert classify_error(_raised(group), own_transaction=False) is ErrorClass.DEPLOYMENT


def test_a_policy_does_not_make_others_wait_for_an_event_that_the_table_refuses() -> None:
    """Also where a handler wraps an error of classes 22 and 23."""
    error = _raised(caused(Down(), errors.lookup("23505")("it is there")))
    step = Step(Handler("shop", "Ordered", print, takes_envelope=False, policy=Policy(Retry(wait_for=(Down,)), None)),
                None, None, "order-1")  # fmt: skip
    error._eventkit_step = step  # type: ignore[attr-defined]

    assert [classify_error(error, own_transaction=ours) for ours in (True, False)] == [
        ErrorClass.EVENT,
        ErrorClass.EVENT,
    ]
