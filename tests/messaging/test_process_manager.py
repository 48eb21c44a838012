"""Process managers: rows, commands and deadlines are committed with the checkpoints, each step once."""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit.errors import EventTooLarge, ProjectionError
from eventkit.messaging import process_manager as process_manager_module
from eventkit.messaging import reaction as reaction_module
from eventkit.messaging.process_manager import ProcessManager
from eventkit.messaging.reaction import Reaction
from eventkit.projection.define.rows import DELETE
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import OwnTransaction
from eventkit.testing import at, given
from tests.messaging.fulfilment import FULFILMENTS, Fulfilment, manager, payment
from tests.messaging.shop import (
    ChargeCard,
    OrderCancelled,
    OrderPaid,
    OrderPlaced,
    PaymentOverdue,
    ShipOrder,
    delivered,
    history,
    order,
    rows,
    shop,
    store,
    timers,
    waiting,
)
from tests.projection.shop import Given, letters, projector
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
FAR = timedelta(days=4)


def place(url: str, *keys: str, total: int = 1) -> None:
    """Place orders."""
    with psycopg.connect(url) as connection:
        for key in keys:
            store.append(connection, order(key), OrderPlaced(key, total))


def pay(url: str, *keys: str) -> None:
    """Pay for orders."""
    with psycopg.connect(url) as connection:
        for key in keys:
            store.append(connection, payment(key), OrderPaid(key))


def handle(url: str, *streams: str, process_manager: ProcessManager | None = None) -> None:
    """Let a manager that has just started handle all that there is in some streams."""
    with projector(url, process_manager or manager()) as running:
        running.apply(delivered(url, *streams))


def processes(url: str) -> list[tuple[Any, ...]]:
    """Return the processes: order, events seen, closed."""
    return rows(url, 'select "order", seen, closed from fulfilments order by 1')


def test_an_event_is_reacted_to_once(url: str) -> None:
    """Delivered again, neither the row nor a stream nor a deadline changes."""
    place(url, "1")

    for _ in range(3):
        handle(url, order("1"))

    assert history(url) == {"charge_card-1": ["ChargeCard"], "order-1": ["OrderPlaced"]}
    assert waiting(url) == [("order-1", "PaymentOverdue")]
    assert processes(url) == [("1", 1, False)]


def test_a_process_that_another_has_created_meanwhile_reacts_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handlers are called again on the existing row, and only that counts."""
    place(url, "1")
    pay(url, "1")
    here = manager()
    write, meanwhile = here.rows.write, [lambda: handle(url, payment("1"))]

    def late(*given: Any) -> set[Any]:  # noqa: ANN401 the method's
        if meanwhile:
            meanwhile.pop()()
        return write(*given)

    monkeypatch.setattr(here.rows, "write", late)
    handle(url, order("1"), process_manager=here)

    assert processes(url) == [("1", 2, True)]
    assert history(url)["charge_card-1"] == ["ChargeCard"]
    assert history(url)["ship-1"] == ["ShipOrder"]


def test_a_reaction_follows_its_event(url: str) -> None:
    """Commands and fired deadlines belong to the story, and name their cause."""
    place(url, "1", "2")
    handle(url, order("1"), order("2"))
    timers(url).fire(datetime.now(UTC) + FAR)

    with psycopg.connect(url) as connection:
        for key in ("1", "2"):
            placed, overdue = store.read_stream(connection, order(key))
            [charge] = store.read_stream(connection, shop.stream("charge_card", key))
            for effect in (charge, overdue):
                assert effect.metadata.causation_id == str(placed.id)
                assert effect.metadata.correlation_id == str(placed.id)


def test_a_deadline_counts_from_the_event(url: str) -> None:
    """However late the manager is."""
    place(url, "1")
    handle(url, order("1"))

    off = "select t.due_at - e.recorded_at from eventkit.timers t, eventkit.events e where e.stream = 'order-1'"
    assert rows(url, off) == [(timedelta(days=3),)]


@pytest.mark.both_postgres
def test_paid_in_time_it_is_sent_and_unpaid_it_is_cancelled(url: str) -> None:
    """The deadline's event reaches the manager like every other."""
    place(url, "1", "2")
    pay(url, "1")
    handle(url, order("1"), order("2"), payment("1"))
    assert timers(url).fire(datetime.now(UTC) + FAR) == 1

    handle(url, order("1"), order("2"))

    assert history(url)["ship-1"] == ["ShipOrder"]
    assert history(url)["order-2"] == ["OrderPlaced", "PaymentOverdue", "OrderCancelled"]
    assert processes(url) == [("1", 2, True), ("2", 2, True)]


def test_a_deadline_that_fired_before_it_was_cancelled_is_for_the_row_to_judge(url: str) -> None:
    """It comes after the payment that it did not wait for: the order is sent, not cancelled."""
    place(url, "1")
    handle(url, order("1"))
    timers(url).fire(datetime.now(UTC) + FAR)
    pay(url, "1")

    handle(url, payment("1"))
    handle(url, order("1"))

    assert history(url)["order-1"] == ["OrderPlaced", "PaymentOverdue"]
    assert history(url)["ship-1"] == ["ShipOrder"]


def test_a_deadline_set_and_cancelled_in_one_batch_is_never_written(url: str) -> None:
    """The last word counts, and the last event of a stream comes last."""
    place(url, "1")
    pay(url, "1")

    handle(url, order("1"), payment("1"))

    assert waiting(url) == []


def test_a_failing_event_parks_its_stream_without_a_trace(url: str) -> None:
    """The requests of its handler before the failure are dropped; other processes work, and a redrive repairs it."""
    place(url, "1", "3")
    place(url, "2", total=-1)
    handle(url, order("1"), order("2"), order("3"))

    assert set(history(url)) == {"charge_card-1", "charge_card-3", "order-1", "order-2", "order-3"}
    assert letters(url) == [("order-2", 1, "failed")]
    assert processes(url) == [("1", 1, False), ("3", 1, False)]

    mended = ProcessManager("fulfilment", store, table=FULFILMENTS, key="order")
    mended.on(OrderPlaced)(lambda _, event, reaction: reaction.append(order(event.order), OrderCancelled(event.order)))
    with projector(url, mended) as running:
        assert running.redrives.retry(order("2"))
    assert history(url)["order-2"] == ["OrderPlaced", "OrderCancelled"]


def test_a_failing_append_is_the_events_fault(url: str) -> None:
    """It is refused where the handler says it, and parked with that reason."""
    place(url, "1")
    wrong = ProcessManager("wrong", store, table=FULFILMENTS, key="order", retry=Retry(attempts=1))
    wrong.on(OrderPlaced)(lambda _, event, reaction: reaction.append("no stream", event))

    handle(url, order("1"), process_manager=wrong)

    said = "error like 'InvalidStreamId at %', detail like '%no stream%is no stream id%'"
    assert rows(url, f"select {said} from eventkit.dead_letters") == [(True, True)]


def test_a_closed_stream_stops_only_the_event_that_appends_to_it(url: str) -> None:
    """It was archived meanwhile: the event is parked, the others are reacted to."""
    place(url, "1", "2")
    with psycopg.connect(url) as connection:
        connection.execute("insert into eventkit.streams (stream, version, closed) values ('charge_card-1', 0, true)")

    handle(url, order("1"), order("2"))

    assert letters(url) == [("order-1", 1, "failed")]
    assert history(url)["charge_card-2"] == ["ChargeCard"]


def test_two_processes_that_feed_one_process_lose_nothing(url: str) -> None:
    """Events of different streams, from different partitions: the row is locked while it is changed."""
    keys = [str(number) for number in range(5)]
    for _ in range(20):
        place(url, *keys)
        pay(url, *keys)
    feeds = [delivered(url, *map(stream, keys)) for stream in (order, payment)]
    errors: list[BaseException] = []

    def process(messages: list[Any]) -> None:
        try:
            with projector(url, manager()) as running:
                for start in range(0, len(messages), 7):
                    running.apply(messages[start : start + 7])
        except BaseException as error:  # noqa: BLE001 raised again below
            errors.append(error)

    threads = [threading.Thread(target=process, args=(feed,)) for feed in feeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert processes(url) == [(key, 40, True) for key in keys]
    assert all(history(url)[f"ship-{key}"] == ["ShipOrder"] for key in keys)
    assert all(history(url)[f"charge_card-{key}"] == ["ChargeCard"] * 20 for key in keys)


def test_a_batch_costs_as_many_statements_as_an_event(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, deadlines and appends are written together, also where several events act on one stream."""
    keys = [str(number) for number in range(50)]
    place(url, *keys)
    everything = ProcessManager("everything", store, table=FULFILMENTS, key="order")

    @everything.on(OrderPlaced)
    def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
        process.seen += 1
        reaction.append(shop.stream("ledger", "all"), ChargeCard(event.order))
        reaction.append(order(event.order), ChargeCard(event.order))
        reaction.deadline(order(event.order), PaymentOverdue(event.order), FAR)
        reaction.cancel(order(event.order), "reminder")

    statements: list[object] = []
    execute = psycopg.Cursor.execute
    with projector(url, everything) as running:
        messages = delivered(url, *map(order, keys))
        running.apply(messages[:1])  # the first reads the table

        def counting(self: psycopg.Cursor[Any], query: bytes, *given: Any, **more: Any) -> object:  # noqa: ANN401
            statements.append(query)
            return execute(self, query, *given, **more)

        monkeypatch.setattr(psycopg.Cursor, "execute", counting)
        running.apply(messages[1:2])
        one = len(statements)
        assert one > 5
        running.apply(messages[2:])

    assert len(statements) == 2 * one
    ledger = rows(url, "select data->>'order' from eventkit.events where stream = 'ledger-all' order by version")
    assert ledger == [(key,) for key in keys]
    causes = rows(
        url, "select count(distinct metadata->>'causation_id') from eventkit.events where stream = 'ledger-all'"
    )
    assert causes == [(50,)]


def test_a_process_may_end(url: str) -> None:
    """A handler that returns DELETE removes its row; its requests are carried out."""
    place(url, "1")
    short = ProcessManager("short", store, table=FULFILMENTS, key="order")

    @short.on(OrderPlaced)
    def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> object:
        del process
        reaction.append(order(event.order), OrderCancelled(event.order))
        return DELETE

    handle(url, order("1"), process_manager=short)

    assert processes(url) == []
    assert history(url)["order-1"] == ["OrderPlaced", "OrderCancelled"]


def test_events_from_before_it_was_introduced_have_no_effect(url: str) -> None:
    """A new manager does not charge the orders of last year."""
    place(url, "1")
    late = ProcessManager("late", store, table=FULFILMENTS, key="order", since=datetime.now(UTC) + FAR)
    late.on(OrderPlaced)(lambda _, event, reaction: reaction.append(order(event.order), OrderCancelled(event.order)))

    handle(url, order("1"), process_manager=late)

    assert history(url) == {"order-1": ["OrderPlaced"]}
    assert processes(url) == []


def test_it_is_described_in_given_when_then(url: str) -> None:
    """With the testing kit, which lets the days pass."""
    placed, unpaid = OrderPlaced("1", 7), at(order("1"), PaymentOverdue("1"))
    waits = given(manager(), placed, database=url).then_deadlines(unpaid)
    waits.when_due(timedelta(days=2)).then_nothing()
    waits.when_due(timedelta(days=4)).then_appended(at(order("1"), OrderCancelled("1")))

    given(manager(), OrderPlaced("2"), database=url).when(OrderPaid("2")).then_appended(at("ship-2", ShipOrder("2")))


@pytest.mark.parametrize("point", ["applied_not_committed", "committed_not_acknowledged"])
def test_killed_at_a_crash_point_it_reacts_once(url: str, point: str) -> None:
    """The next process does the rest, and nothing twice."""
    place(url, "1")
    pay(url, "2")
    child = subprocess.run([sys.executable, "-m", __name__, url, point], cwd=ROOT, check=False, timeout=60)
    assert child.returncode == -9
    assert len(processes(url)) == (0 if point == "applied_not_committed" else 2)

    handle(url, order("1"), payment("2"))

    assert history(url) == {"charge_card-1": ["ChargeCard"], "order-1": ["OrderPlaced"], "payment-2": ["OrderPaid"]}
    assert processes(url) == [("1", 1, False), ("2", 1, False)]
    assert waiting(url) == [("order-1", "PaymentOverdue")]


def _die(url: str, point: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), 9)

    with projector(url, manager()) as running:
        batch = delivered(url, order("1"), payment("2"))
        if point == "applied_not_committed":
            OwnTransaction._check = die  # type: ignore[method-assign, assignment]
        else:
            Given.acknowledge = die  # type: ignore[method-assign, assignment]
        running.step(Given(batch))


def test_the_commands_run_a_manager_and_its_deadlines(url: str) -> None:
    """From the store alone: a projector and a timers process, nothing else."""
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": url}
    here = [sys.executable, "-m", "eventkit.cli"]
    commands = [
        [*here, "projector", "run", "tests.messaging.fulfilment:fulfilment", "--from", "store"],
        [*here, "timers", "run"],
    ]
    running = [subprocess.Popen(command, env=settings, cwd=ROOT, stderr=subprocess.PIPE) for command in commands]
    place(url, "1", "2")
    pay(url, "2")
    wait_until(lambda: waiting(url) == [("order-1", "PaymentOverdue")], timeout=60, what="the manager")
    with psycopg.connect(url) as connection:
        connection.execute("update eventkit.timers set due_at = now()")

    wait_until(lambda: history(url)["order-1"][2:] == ["OrderCancelled"], timeout=60, what="the deadline")

    for process in running:
        process.terminate()
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert "order-1" in history(url)
    assert history(url)["ship-2"] == ["ShipOrder"]


@pytest.mark.parametrize("wrong", [{"retry": 3}, {"since": datetime(2026, 1, 1)}])  # noqa: DTZ001
def test_a_manager_that_could_not_work_is_refused(wrong: dict[str, Any]) -> None:
    """When it is declared."""
    with pytest.raises(ProjectionError, match="'wrong'"):
        ProcessManager("wrong", store, table=FULFILMENTS, key="order", **wrong)


if __name__ == "__main__":
    _die(*sys.argv[1:])


def test_reactions_that_do_not_fit_into_memory_together_are_written_in_several_batches(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event may lead to many commands, and a batch to very many: it is halved, and each has its effect once."""
    monkeypatch.setattr(process_manager_module, "MAX_BYTES", 10_000)  # some six orders
    monkeypatch.setattr(reaction_module, "PART_BYTES", 3_000)
    keys = [f"{number:02}" for number in range(30)]
    place(url, *keys)

    handle(url, *map(order, keys))

    assert processes(url) == [(key, 1, False) for key in keys]
    assert {key: history(url)[f"charge_card-{key}"] for key in keys} == {key: ["ChargeCard"] for key in keys}
    assert len(waiting(url)) == 30
    assert letters(url) == []


def test_a_reaction_to_one_event_that_does_not_fit_into_memory_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is parked, with the advice; a handler that catches the error changes nothing about it."""
    monkeypatch.setattr(process_manager_module, "MAX_BYTES", 10_000_000)
    many = ProcessManager("many", store, table=FULFILMENTS, key="order", categories=["order"], retry=Retry(attempts=1))

    @many.on(OrderPlaced)
    def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
        process.seen += 1
        with suppress(EventTooLarge):
            for number in range(20_000 if event.total else 2):
                reaction.append(shop.stream("ship", event.order), ShipOrder(f"{event.order}-{number}"))

    place(url, "small", total=0)
    place(url, "large")

    handle(url, order("small"), order("large"), process_manager=many)

    assert processes(url) == [("small", 1, False)]
    assert history(url)["ship-small"] == ["ShipOrder", "ShipOrder"]
    assert "ship-large" not in history(url)
    assert letters(url) == [(order("large"), 1, "failed")]
    ((error, detail),) = rows(url, "select error, detail from eventkit.dead_letters")
    assert error.startswith("EventTooLarge")
    assert "take more than 10 MB: react with one command" in detail


def test_one_stream_of_many_commands_is_written_in_parts_in_order(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement is bounded by bytes, also where one stream gets all of them."""
    monkeypatch.setattr(reaction_module, "PART_BYTES", 3_500)
    many = ProcessManager("many", store, table=FULFILMENTS, key="order", categories=["order"])

    @many.on(OrderPlaced)
    def placed(process: Fulfilment, event: OrderPlaced, reaction: Reaction) -> None:
        process.seen += 1
        for number in range(20):
            reaction.append(shop.stream("ship", event.order), ShipOrder(f"{number}"))
            reaction.append(shop.stream("ship", f"{event.order}-{number}"), ShipOrder("x"))

    place(url, "1")

    handle(url, order("1"), process_manager=many)

    found = rows(url, "select data ->> 'order' from eventkit.events where stream = 'ship-1' order by version")
    assert found == [(str(number),) for number in range(20)]
    assert rows(url, "select count(*), max(version) from eventkit.events where stream like 'ship-1-%'") == [(20, 1)]
