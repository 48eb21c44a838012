"""Deadlines fire once, by the database's clock, in any circumstances; no test here waits for a time."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from eventkit.cli import main
from eventkit.errors import Deposed
from eventkit.messaging.timer_worker import SESSION
from eventkit.storage.db.connection import connect
from eventkit.storage.timers import LEASE, LIMIT, DueTimers
from eventkit.worker import Stop
from tests.messaging.shop import (
    OrderPaid,
    PaymentOverdue,
    committed,
    deadlines,
    history,
    order,
    rows,
    shop,
    store,
    timers,
    waiting,
)
from tests.storage.shop import check_tables
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
NOW, DAYS = timedelta(0), timedelta(days=3)


@pytest.mark.both_postgres
def test_due_deadlines_are_appended_and_others_stay(database_url: str) -> None:
    """Each to its stream, after the events there."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, order(1), OrderPaid("1"))
        deadlines.set(connection, order(1), PaymentOverdue("1"), NOW)
        deadlines.set(connection, order(2), PaymentOverdue("2"), -DAYS)
        deadlines.set(connection, order(3), PaymentOverdue("3"), DAYS)

    assert timers(database_url).fire() == 2

    assert history(database_url) == {"order-1": ["OrderPaid", "PaymentOverdue"], "order-2": ["PaymentOverdue"]}
    assert waiting(database_url) == [("order-3", "PaymentOverdue")]


def test_a_deadline_of_a_closed_stream_waits_and_delays_no_other(database_url: str) -> None:
    """It was archived before its deadline: restored, it fires."""
    with psycopg.connect(database_url) as connection:
        for number in (1, 2):
            deadlines.set(connection, order(number), PaymentOverdue(str(number)), -DAYS)
        connection.execute("insert into eventkit.streams (stream, version, closed) values ('order-1', 0, true)")
    worker = timers(database_url)
    assert worker.fire() == 1
    assert history(database_url) == {"order-2": ["PaymentOverdue"]}
    assert waiting(database_url) == [("order-1", "PaymentOverdue")]

    with connect(database_url, name="test", autocommit=True) as connection:
        assert DueTimers(connection, "eventkit", epoch=1).next_in() is None  # nothing to wake up for
        connection.execute("update eventkit.streams set closed = false")

    assert worker.fire() == 1


def test_a_fired_event_is_an_event_like_others(database_url: str) -> None:
    """It can be read back, and lies in the outbox with its topic and the shard of its stream."""
    with psycopg.connect(database_url) as connection:
        deadlines.set(connection, order(1), PaymentOverdue("1"), NOW)
    timers(database_url).fire()

    with psycopg.connect(database_url) as connection:
        store.append(connection, order(1), OrderPaid("1"))
        fired, appended = store.read_stream(connection, order(1))
        check_tables(connection)
        outbox = connection.execute("select topic, shard, bytes > 0 from eventkit.outbox").fetchall()
    assert (fired.event, fired.version, appended.version) == (PaymentOverdue("1"), 1, 2)
    assert outbox[0] == outbox[1]


def test_several_deadlines_of_a_stream_fire_in_order_of_their_time(database_url: str) -> None:
    """Also in one statement, and versions follow positions."""
    with psycopg.connect(database_url) as connection:
        for place, days in enumerate([5, 1, 4, 2, 3]):
            deadlines.set(
                connection, order(place % 2), PaymentOverdue(f"{days}"), timedelta(days=-days), name=f"n{days}"
            )
    timers(database_url).fire()

    with psycopg.connect(database_url) as connection:
        check_tables(connection)
        found = {
            stream: [e.event.order for e in store.read_stream(connection, stream)] for stream in ("order-0", "order-1")
        }
    assert found == {"order-0": ["5", "4", "3"], "order-1": ["2", "1"]}


def test_more_than_a_page_fires(database_url: str) -> None:
    """Page after page, each deadline once."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into eventkit.timers select 'order-' || n, 'late', now(), gen_random_uuid(), 'shop', 'shop.order',"
            " 0, 'PaymentOverdue', 1, '{}', '{}' from generate_series(1, %s) n",
            (LIMIT * 2 + 7,),
        )

    assert timers(database_url).fire() == LIMIT * 2 + 7
    assert timers(database_url).fire() == 0


def test_time_need_not_pass_for_a_test(database_url: str) -> None:
    """Deadlines due in four days fire as of then."""
    committed(database_url, lambda connection: deadlines.set(connection, order(1), PaymentOverdue("1"), DAYS))

    assert timers(database_url).fire(datetime.now(UTC) + timedelta(days=2)) == 0
    assert timers(database_url).fire(datetime.now(UTC) + timedelta(days=4)) == 1


@pytest.mark.both_postgres
def test_a_deadline_that_is_being_cancelled_does_not_fire(database_url: str) -> None:
    """Nor does firing wait for the transaction that cancels; rolled back, it fires."""
    committed(database_url, lambda connection: deadlines.set(connection, order(1), PaymentOverdue("1"), NOW))

    with psycopg.connect(database_url) as connection:
        assert deadlines.cancel(connection, order(1), PaymentOverdue)
        assert timers(database_url).fire() == 0
        connection.rollback()

    assert timers(database_url).fire() == 1


def test_a_deadline_that_is_firing_can_no_longer_be_cancelled(database_url: str) -> None:
    """Cancel waits for the outcome and says that it came too late."""
    committed(database_url, lambda connection: deadlines.set(connection, order(1), PaymentOverdue("1"), NOW))
    late: list[bool] = []
    firing = connect(database_url, name="firing", options=SESSION)
    firing.execute("insert into eventkit.leases values (%s, 7, '', 'infinity')", (LEASE,))
    assert DueTimers(firing, "eventkit", epoch=7).fire() == 1

    def cancel(connection: psycopg.Connection[object]) -> None:
        late.append(deadlines.cancel(connection, order(1), PaymentOverdue))

    waits = threading.Thread(target=committed, args=(database_url, cancel))
    waits.start()
    blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    wait_until(lambda: rows(database_url, blocked) == [(1,)], what="cancel to wait")
    firing.commit()
    waits.join(60)
    firing.close()

    assert late == [False]
    assert history(database_url) == {"order-1": ["PaymentOverdue"]}


def test_firing_and_cancelling_race_to_exactly_one_end(database_url: str) -> None:
    """Services cancel, before or after they append to the stream, while the timers fire; and nothing deadlocks."""
    count, stop = 150, Stop()
    with psycopg.connect(database_url) as connection:
        for number in range(count):
            due = timedelta(milliseconds=number % 50)
            deadlines.set(connection, order(number), PaymentOverdue(str(number)), due)
    in_time: set[str] = set()
    errors: list[BaseException] = []

    def service(half: int) -> None:
        try:
            with psycopg.connect(database_url) as connection:
                for number in random.Random(half).sample(range(half, count, 2), count // 2):
                    if half:
                        store.append(connection, order(number), OrderPaid(str(number)))
                    if deadlines.cancel(connection, order(number), PaymentOverdue):
                        in_time.add(order(number))
                    if not half:
                        store.append(connection, order(number), OrderPaid(str(number)))
                    connection.commit()
        except BaseException as error:  # noqa: BLE001 raised again below
            errors.append(error)

    firing = threading.Thread(target=timers(database_url).run, args=(stop,))
    services = [threading.Thread(target=service, args=(half,)) for half in range(2)]
    for thread in (*services, firing):
        thread.start()
    for thread in services:
        thread.join(60)
    stop.set()
    firing.join(60)
    timers(database_url).fire()

    assert errors == []
    fired = rows(database_url, "select stream from eventkit.events where type = 'PaymentOverdue'")
    assert sorted([*in_time, *(stream for (stream,) in fired)]) == sorted(map(order, range(count)))
    assert waiting(database_url) == []
    with psycopg.connect(database_url) as connection:
        check_tables(connection)


def test_an_open_append_delays_its_own_streams_deadline_alone(database_url: str) -> None:
    """To a stream that is there, and to one that it creates."""
    committed(database_url, lambda connection: store.append(connection, order(1), OrderPaid("1")))
    with psycopg.connect(database_url) as connection:
        for number in range(1, 5):
            deadlines.set(connection, order(number), PaymentOverdue(str(number)), NOW)

    with psycopg.connect(database_url) as late:
        store.append(late, order(1), OrderPaid("1"))
        store.append(late, order(2), OrderPaid("2"))
        assert timers(database_url).fire() == 2
        assert waiting(database_url) == [("order-1", "PaymentOverdue"), ("order-2", "PaymentOverdue")]

    assert timers(database_url).fire() == 2
    with psycopg.connect(database_url) as connection:
        check_tables(connection)


def test_a_deposed_worker_fires_nothing(database_url: str) -> None:
    """The statement checks the lease's epoch."""
    committed(database_url, lambda connection: deadlines.set(connection, order(1), PaymentOverdue("1"), NOW))
    with connect(database_url, name="zombie", autocommit=True, options=SESSION) as connection:
        connection.execute("insert into eventkit.leases values (%s, 8, '', 'infinity')", (LEASE,))
        with pytest.raises(Deposed, match="nothing was fired"):
            DueTimers(connection, "eventkit", epoch=7).fire()

    assert (history(database_url), waiting(database_url)) == ({}, [("order-1", "PaymentOverdue")])


def test_it_fires_due_deadlines_until_it_is_stopped(database_url: str) -> None:
    """A deadline that is set while it runs, too."""
    worker, stop = timers(database_url), Stop()
    running = threading.Thread(target=worker.run, args=(stop,))
    running.start()
    for number in range(3):
        with psycopg.connect(database_url) as connection:
            deadlines.set(connection, order(number), PaymentOverdue(""), NOW)
        wait_until(lambda: waiting(database_url) == [], what="a deadline to fire")
    stop.set()
    running.join(60)

    assert not running.is_alive()
    assert len(history(database_url)) == 3


def test_fired_not_known_to_be(database_url: str) -> None:
    """Killed at that crash point: the next process fires the rest, and nothing twice."""
    with psycopg.connect(database_url) as connection:
        for number in range(10):
            deadlines.set(connection, order(number), PaymentOverdue(str(number)), NOW)
    program = f"""
import os
from eventkit.storage import timers
from tests.messaging import shop
timers.LIMIT = 3
fire, calls = timers.DueTimers._fire, []
def die(*given, **more):
    done = fire(*given, **more)
    calls.append(done)
    if len(calls) == 2: os.kill(os.getpid(), 9)
    return done
timers.DueTimers._fire = die
shop.timers({database_url!r}).fire()
"""
    child = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert len(history(database_url)) == 6

    assert timers(database_url).fire() == 4
    assert history(database_url) == {f"order-{number}": ["PaymentOverdue"] for number in range(10)}


def test_a_killed_worker_is_replaced_by_its_standby(database_url: str) -> None:
    """By the command; it reports its work, and ends well when it is asked to."""
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "eventkit.cli", "timers", "run"]
    with (
        subprocess.Popen(command, env=settings, cwd=ROOT, stderr=subprocess.PIPE, text=True) as first,
        subprocess.Popen(command, env=settings, cwd=ROOT, stderr=subprocess.PIPE, text=True) as second,
    ):
        held = "select count(*) from eventkit.leases where epoch = %s"
        wait_until(lambda: rows(database_url, held, (1,)) == [(1,)], timeout=60, what="a holder")
        [(owner,)] = rows(database_url, "select split_part(owner, ':', 2)::int from eventkit.leases")
        (holder, standby) = (first, second) if first.pid == owner else (second, first)
        holder.kill()
        committed(database_url, lambda connection: deadlines.set(connection, order(1), PaymentOverdue(""), NOW))
        wait_until(lambda: waiting(database_url) == [], timeout=60, what="the standby to fire")
        standby.terminate()
        _, log = standby.communicate(timeout=60)

    assert standby.returncode == 0
    assert "1 deadlines fired by this process" in log


def test_the_deadlines_to_come_are_listed(database_url: str) -> None:
    """The soonest first, without the data of their events."""
    with psycopg.connect(database_url) as connection:
        deadlines.set(connection, order(1), PaymentOverdue("secret"), DAYS)
        deadlines.set(connection, order(2), PaymentOverdue("secret"), -DAYS, name="reminder")
        deadlines.set(connection, shop.stream("orderly", 1), PaymentOverdue("secret"), NOW)

    found = [json.loads(line) for line in _list(database_url, "--category", "order", "--json").splitlines()]

    assert [(one["stream"], one["name"], one["due"]) for one in found] == [
        ("order-2", "reminder", True),
        ("order-1", "PaymentOverdue", False),
    ]
    text = _list(database_url)
    assert "order-2  PaymentOverdue (reminder), due\n" in text
    assert "secret" not in text + str(found)


def test_an_empty_list_of_deadlines_is_a_sentence(database_url: str) -> None:
    """And a category that cannot be one is refused."""
    assert _list(database_url) == "no deadline is set\n"
    refused = CliRunner().invoke(main, ["--database-url", database_url, "timers", "list", "--category", "A-b"])
    assert refused.exit_code == 2
    assert "'A-b' breaks the rule" in refused.stderr


def _list(url: str, *arguments: str) -> str:
    done = CliRunner().invoke(main, ["--database-url", url, "timers", "list", *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout
