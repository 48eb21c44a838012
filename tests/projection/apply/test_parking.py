"""An event that fails parks its own stream, in order; nobody else's."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from eventkit.errors import DatabaseUnavailable, ProjectionError
from eventkit.projection.apply.parking import StreamParking
from eventkit.projection.batch import Run
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection
from eventkit.projection.retry_policy import Backoff
from tests.projection.shop import (
    TOTALS,
    Noted,
    Ordered,
    Total,
    apply,
    checkpoints,
    letters,
    message,
    orders,
    projector,
    rows,
    shop,
    totals,
)

BAD = Ordered("eve", -1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "pause", lambda _, attempt: 0.001 * attempt)


def test_a_stop_between_two_attempts_parks_nothing_and_acknowledges_nothing(url: str) -> None:
    """A release in the middle of an outage: the event comes again, with all its attempts."""
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")

    with projector(url, projection) as running:

        @projection.on(Ordered)
        def ordered(row: Total, event: Ordered) -> None:
            del row, event
            running.stop.set()
            raise OSError("the rates are not to be had just now")

        assert not running.apply(orders("order-1", 2))

    assert letters(url) == []
    assert "order-1" not in checkpoints(url)
    assert rows(url) == []


def test_only_the_stream_of_a_failing_event_is_parked(url: str) -> None:
    """It is found among many; events before it are applied, and events behind it are kept."""
    batch = [event for number in range(20) for event in orders(f"order-{number:02}", 5)]
    batch[37] = message("order-07", 3, BAD)

    done = apply(url, batch)

    assert rows(url) == [("ann", 97, 97)]
    assert letters(url) == [("order-07", 3, "failed"), ("order-07", 4, "behind"), ("order-07", 5, "behind")]
    assert checkpoints(url)["order-07"] == (2, True)
    assert (done.counters.applied, done.counters.parked) == (97, 3)


def test_a_letter_has_its_reason_and_the_number_of_attempts(url: str) -> None:
    """The kind of the error, its masked text, and the event are in the row."""
    apply(url, [message("order-1", 1, BAD)])

    said = "error like 'ValueError at shop.py:%', detail"
    found = rows(
        url, f"select type, {said}, attempts, event->>'key', convert_from(data, 'UTF8') from eventkit.dead_letters"
    )

    assert found == [("Ordered", True, "eve ordered for -1", 3, "order-1", '{"customer":"eve","amount":-1}')]


def test_an_error_that_passes_parks_nothing(url: str) -> None:
    """A failing event gets another chance before its stream is parked."""
    failing = iter([True, True, True])
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        if next(failing, False):
            raise OSError("the rates are not to be had just now")
        row.amount += event.amount

    apply(url, orders("order-1", 1), projection=projection)

    assert rows(url, "select amount from totals") == [(1,)]
    assert letters(url) == []


def test_later_events_of_a_parked_stream_are_kept_with_it_once(url: str) -> None:
    """In order, and a redelivery finds them there."""
    later = orders("order-1", 2, first=2)

    done = apply(url, [message("order-1", 1, BAD)], later, later)

    assert letters(url) == [("order-1", 1, "failed"), ("order-1", 2, "behind"), ("order-1", 3, "behind")]
    assert (done.counters.parked, done.counters.duplicates) == (3, 2)


def test_a_redrive_applies_the_letters_in_order(url: str) -> None:
    """When the code is repaired, the stream continues where it was parked."""
    apply(url, orders("order-1", 2), [message("order-1", 3, BAD), *orders("order-1", 3, first=4)])
    mended = TableProjection("totals", shop, table=TOTALS, key="customer")

    @mended.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        row.orders += 1
        row.amount += max(event.amount, 0)

    with projector(url, mended) as running:
        goes_on = running.redrives.retry("order-1")
        running.apply(orders("order-1", 1, first=7))

    assert goes_on
    assert rows(url) == [("ann", 6, 6), ("eve", 1, 0)]
    assert (letters(url), checkpoints(url)) == ([], {"order-1": (7, False)})


def test_a_redrive_that_fails_again_stops_there_and_says_so(url: str) -> None:
    """Events before the failing letter are applied; the rest stays in order."""
    apply(
        url,
        [
            message("order-1", 1, BAD),
            *orders("order-1", 1, first=2),
            message("order-1", 3, BAD),
            *orders("order-1", 1, first=4),
        ],
    )
    half_mended = TableProjection("totals", shop, table=TOTALS, key="customer")

    @half_mended.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        if event.amount < 0 and row.orders == 1:
            raise ValueError("still")
        row.orders += 1

    with projector(url, half_mended) as running:
        goes_on = running.redrives.retry("order-1")

    assert not goes_on
    assert rows(url, "select customer, orders from totals order by 1") == [("ann", 1), ("eve", 1)]
    assert letters(url) == [("order-1", 3, "failed"), ("order-1", 4, "behind")]
    assert checkpoints(url) == {"order-1": (2, True)}


def test_a_handled_type_in_a_newer_schema_is_parked(url: str) -> None:
    """Never skipped: it would be lost when the code is updated."""
    apply(url, [message("order-1", 1, Ordered("ann", 1), ce_dataschemaversion="9"), *orders("order-1", 1, first=2)])

    assert rows(url) == []
    assert letters(url) == [("order-1", 1, "newer schema"), ("order-1", 2, "behind")]


@pytest.mark.parametrize("data", [b"{", b"\xff", b'{"customer": 1, "amount": 1}', b"", b'"\\u0000"'])
def test_undecodable_data_of_a_handled_type_is_parked(url: str, data: bytes) -> None:
    """The bytes are kept as they came."""
    bad = message("order-1", 2, Ordered("ann", 1))
    bad.value = data

    apply(url, [*orders("order-1", 1), bad, *orders("order-2", 1)])

    assert rows(url) == [("ann", 2, 2)]
    assert letters(url) == [("order-1", 2, "undecodable")]
    assert rows(url, "select data from eventkit.dead_letters") == [(data,)]


def test_undecodable_data_of_an_unhandled_type_is_ignored(url: str) -> None:
    """It advances, unread."""
    bad = message("order-1", 1, Noted())
    bad.value = b"{"

    apply(url, [bad])

    assert checkpoints(url) == {"order-1": (1, False)}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ce_streamversion", "x"),
        ("ce_streamversion", "0"),
        ("ce_streamversion", "-1"),
        ("ce_streamversion", str(2**40)),
    ],
)
def test_a_message_without_a_version_is_kept_and_parks_nothing(url: str, header: str, value: str) -> None:
    """It has no place in any stream."""
    bad = message("order-1", 1, Ordered("ann", 1))
    bad.headers = [(name, value if name == header else was) for name, was in bad.headers]

    done = apply(url, [bad, *orders("order-1", 2)], [bad])

    assert rows(url) == [("ann", 2, 2)]
    assert letters(url) == [("order-1", 0, "malformed")]
    assert done.counters.parked == 1


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 5_000])
def test_a_message_whose_key_is_no_stream_is_kept_and_parks_nothing(url: str, key: str) -> None:
    """Foreign messages on a topic stop nobody."""
    bad = orders("order-1", 1)[0]
    bad.key = key

    apply(url, [bad, *orders("order-2", 1)])

    assert rows(url) == [("ann", 1, 1)]
    assert [cause for _, _, cause in letters(url)] == ["malformed"]


def test_a_value_that_the_table_refuses_parks_only_its_stream(url: str) -> None:
    """An error of the write says nothing about who caused it: the halves do."""
    batch = [*orders("order-1", 2), message("order-2", 1, Ordered("bob", 2**31)), *orders("order-3", 2)]

    apply(url, batch)

    assert rows(url) == [("ann", 4, 4)]
    assert letters(url) == [("order-2", 1, "failed")]


def test_an_event_without_a_key_is_parked(url: str) -> None:
    """A row needs a value for its key."""
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")
    projection.on(Ordered, key=lambda event: event.customer or None)(lambda _row, _event: None)

    apply(url, [message("order-1", 1, Ordered("", 1)), *orders("order-2", 1)], projection=projection)

    assert letters(url) == [("order-1", 1, "failed")]


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
def test_losing_to_another_transaction_is_never_the_events_fault(url: str, state: str) -> None:
    """Serialization failures, deadlocks and lock timeouts are tried again."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "create sequence tries; create function refuse() returns trigger language plpgsql as $$ begin"
            f" if nextval('tries') < 4 then raise exception 'no' using errcode = '{state}'; end if; return new; end $$;"
            "create trigger refuse before update on totals for each row execute function refuse()"
        )

    apply(url, orders("order-1", 3))

    assert rows(url) == [("ann", 3, 3)]
    assert letters(url) == []


@pytest.mark.parametrize("state", ["53100", "57P01", "08006", "58030"])
def test_a_servers_trouble_is_never_the_events_fault(url: str, state: str) -> None:
    """A full disk or a shutdown ends the connection's work, and parks nothing."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "create function refuse() returns trigger language plpgsql as"
            f" $$ begin raise exception 'no' using errcode = '{state}'; end $$;"
            "create trigger refuse before update on totals for each row execute function refuse()"
        )

    with pytest.raises(DatabaseUnavailable):
        apply(url, orders("order-1", 3))

    assert letters(url) == []


def test_a_lost_connection_is_never_the_events_fault(url: str) -> None:
    """Nothing is parked, and the next process applies all."""
    with projector(url, ending := _ends_its_connection("ends")) as running, pytest.raises(DatabaseUnavailable):
        running.apply(orders("order-1", 3))
    del ending

    apply(url, orders("order-1", 3))

    assert rows(url) == [("ann", 3, 3)]
    assert letters(url) == []


def test_a_read_model_whose_table_is_gone_stops_the_projector_and_parks_nothing(url: str) -> None:
    """A missing table is the set-up's fault."""
    with projector(url) as running:
        with psycopg.connect(url) as connection:
            connection.execute("drop table totals")

        with pytest.raises(ProjectionError, match="totals"):
            running.apply(orders("order-1", 1))

    assert letters(url) == []


def _ends_its_connection(name: str) -> SqlProjection:
    projection = SqlProjection(name, shop)

    @projection.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:
        del event
        connection.exec_driver_sql("select pg_terminate_backend(pg_backend_pid())")

    return projection


def test_a_stream_is_parked_only_right_below_the_failing_event(url: str) -> None:
    """A zombie that failed at an event which another process has applied meanwhile parks nothing."""
    park = StreamParking.park

    def too_late(self: StreamParking, *arguments: Any, **others: Any) -> Run | None:  # noqa: ANN401 as it is called
        apply(url, [message("order-1", 1, BAD)], projection=_takes_all())
        return park(self, *arguments, **others)

    with pytest.MonkeyPatch.context() as patch, projector(url) as zombie:
        patch.setattr(StreamParking, "park", too_late)
        zombie.apply([message("order-1", 1, BAD)])

    assert letters(url) == []
    assert checkpoints(url) == {"order-1": (1, False)}


def _takes_all() -> TableProjection:
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        row.amount += event.amount

    return projection


def test_the_counters_of_a_failed_batch_are_forgotten(url: str) -> None:
    """Only committed events are counted."""
    done = apply(
        url, [*orders("order-1", 3), message("order-2", 1, BAD), message("order-3", 1, Noted())], projection=totals()
    )

    assert (done.counters.applied, done.counters.unhandled, done.counters.parked) == (4, 1, 1)


def test_a_malformed_message_parks_no_stream_of_its_key_at_a_second_look(url: str) -> None:
    """It stays where it is kept, and the stream continues, also after a gap and a redrive."""
    bad = message("order-1", 1, Ordered("ann", 1), ce_streamversion="x")
    log = orders("order-1", 6)

    apply(url, [bad, *log[:2]], log[3:4], log[2:5])

    assert rows(url) == [("ann", 5, 5)]
    assert checkpoints(url) == {"order-1": (5, False)}
    with projector(url) as running:
        assert running.redrives.retry("order-1")
    assert letters(url) == [("order-1", 0, "malformed")]
