"""Handlers of commands and messages: once in effect, for any delivery, from any sender, at any number of repeats."""

import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Connection

from eventkit.cli import main
from eventkit.domain.message import Message
from eventkit.errors import ProjectionError, VersionMismatch
from eventkit.messaging.handlers import Handlers
from eventkit.projection.apply import transaction_retry
from eventkit.projection.retry_policy import Retry
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.dead_letters.actions import LetterActions
from eventkit.storage.dead_letters.query import LetterFilter, LetterQuery
from tests.messaging.payments import payments
from tests.messaging.shop import (
    CardCharged,
    ChargeCard,
    OrderPaid,
    OrderPlaced,
    committed,
    delivered,
    history,
    order,
    rows,
    shop,
    store,
    unversioned,
)
from tests.projection.run.test_running import environment, publish, running
from tests.projection.shop import Given, projector
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
CHARGE = shop.stream("charge_card", 1)


def apply(url: str, *batches: list[Message], handlers: Handlers | None = None) -> dict[str, int]:
    """Let handlers take batches; return the counts."""
    with projector(url, handlers or payments()) as running:
        for batch in batches:
            running.apply(batch)
        return {name: getattr(running.counters, name) for name in ("applied", "duplicates", "parked")}


def charges(url: str) -> list[tuple[str, int]]:
    """Return the charges that were made."""
    return rows(url, "select order_id, amount from charges order by 1, 2")


def letters(url: str) -> list[tuple[str, str]]:
    """Return the dead letters, by stream and cause."""
    return rows(url, "select stream, cause from eventkit.dead_letters order by 1, 2")


def test_a_command_takes_effect_once_however_often_it_comes(url: str) -> None:
    """Its rows, and the appended events, which follow the command."""
    committed(url, lambda connection: store.append(connection, CHARGE, ChargeCard("1"), ChargeCard("1", 2)))
    commands = delivered(url, CHARGE)

    counted = apply(url, commands[:1], commands, commands)

    assert charges(url) == [("1", 1), ("1", 2)]
    assert history(url)["order-1"] == ["CardCharged", "CardCharged"]
    assert (counted["applied"], counted["duplicates"]) == (2, 3)
    causes = rows(
        url, "select metadata->>'causation_id' from eventkit.events where stream = 'order-1' order by version"
    )
    assert causes == [(dict(command.headers)["ce_id"],) for command in commands]


def test_a_message_without_a_version_takes_effect_once(url: str) -> None:
    """Twice in a batch, in two batches, and by the process that comes after."""
    one, two = unversioned(ChargeCard("1"), "a"), unversioned(ChargeCard("2"), "b")

    first = apply(url, [one, one, two], [two])
    second = apply(url, [one, two])

    assert charges(url) == [("1", 1), ("2", 1)]
    assert (first["applied"], first["duplicates"]) == (2, 2)
    assert (second["applied"], second["duplicates"]) == (0, 2)


def test_the_handlers_row_has_a_shared_lock_while_a_message_is_worked(url: str) -> None:
    """As a delete would: the message is taken behind the fence."""
    fenced, refused = Handlers("fenced", shop, categories=["charge_card"]), []

    @fenced.on(ChargeCard)
    def charge(_: Connection, command: ChargeCard) -> None:
        with psycopg.connect(url) as other, pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("select from eventkit.projections where name = 'fenced' for update nowait")
        refused.append(command.order)

    apply(url, [unversioned(ChargeCard("1"), "a", source="shop")], handlers=fenced)

    assert refused == ["1"]


def test_no_message_is_taken_where_the_handlers_row_is_gone(url: str) -> None:
    """Its handlers were deleted meanwhile; the message comes again when they are started again."""
    with projector(url, payments()) as running:
        with psycopg.connect(url) as other:
            other.execute("delete from eventkit.projections")
        with pytest.raises(VersionMismatch, match="is not registered any more"):
            running.apply([unversioned(ChargeCard("1"), "a")])

    assert (charges(url), rows(url, "select message from eventkit.inbox")) == ([], [])


def test_each_handler_takes_a_message_of_its_own(url: str) -> None:
    """One row of the inbox is one handler's."""
    message = unversioned(ChargeCard("1"), "a")

    apply(url, [message])
    apply(url, [message], handlers=payments("others"))

    assert len(charges(url)) == 2


def test_an_id_of_another_source_is_another_message(url: str) -> None:
    """Ids are unique within their source, as CloudEvents has it."""
    apply(url, [unversioned(ChargeCard("1"), "7"), unversioned(ChargeCard("2"), "7", source="other_till")])

    assert charges(url) == [("1", 1), ("2", 1)]


def test_a_handler_sees_that_a_message_has_no_version(url: str) -> None:
    """Its stream is its key where that can be one."""
    apply(url, [unversioned(ChargeCard("1"), "a", key="card-7"), unversioned(ChargeCard("2"), "b", key="?")])

    found = rows(url, "select stream like 'message-%', stream = 'card-7', version from charges order by order_id")
    assert found == [(False, True, 0), (True, False, 0)]


def test_a_failing_message_is_parked_alone_and_can_be_redriven(url: str) -> None:
    """After its attempts; the other messages of its batch take effect."""
    batch = [
        unversioned(ChargeCard("1"), "a"),
        unversioned(ChargeCard("2", 100), "b"),
        unversioned(ChargeCard("3"), "c"),
    ]
    counted = apply(url, batch, batch)
    assert charges(url) == [("1", 1), ("3", 1)]
    assert letters(url) == [("message:b@till", "failed")]
    assert counted["parked"] == 1

    with psycopg.connect(url) as connection:
        connection.execute("alter table charges drop constraint charges_amount_check")
    with projector(url, payments()) as running:
        assert running.redrives.retry("message:b@till")
        running.apply(batch)

    assert charges(url) == [("1", 1), ("2", 100), ("3", 1)]
    assert letters(url) == []


def test_a_discarded_message_never_takes_effect(url: str) -> None:
    """It is in the inbox as handled, so its redelivery is a duplicate, to repaired handlers too."""
    batch = [unversioned(ChargeCard("1", 100), "a"), unversioned(ChargeCard("2"), "b")]
    apply(url, batch)
    with psycopg.connect(url, autocommit=True) as connection:
        ((parked_by, stream), ids), *others = LetterQuery(connection, "eventkit").choose(LetterFilter()).streams.items()
        outcomes = LetterActions(connection, "eventkit", actor="ann").discard(parked_by, stream, ids)
        connection.execute("alter table charges drop constraint charges_amount_check")

    counted = apply(url, batch)

    assert ([outcome.done for outcome in outcomes], others, letters(url)) == ([True], [], [])
    assert charges(url) == [("2", 1)]
    assert (counted["applied"], counted["duplicates"]) == (0, 2)


@pytest.mark.parametrize("missing", ["ce_id", "ce_source"])
def test_a_message_without_an_identity_is_kept_aside(url: str, missing: str) -> None:
    """Without id or source nobody could say whether it has taken effect."""
    message = unversioned(ChargeCard("1"), "a")
    message.headers = [(name, value) for name, value in message.headers if name != missing]

    apply(url, [message])

    assert charges(url) == []
    assert [cause for _, cause in letters(url)] == ["malformed"]


def test_a_message_that_cannot_be_decoded_is_parked(url: str) -> None:
    """With the reason, at the first attempt."""
    message = unversioned(ChargeCard("1"), "a")
    message.value = b"{"

    apply(url, [message])

    assert letters(url) == [("message:a@till", "undecodable")]


def test_events_from_before_have_no_effect(url: str) -> None:
    """Handlers that are new need not act on the whole history: the stream advances past it."""
    committed(url, lambda connection: store.append(connection, order(1), OrderPlaced("1")))
    timeless = unversioned(OrderPaid("1"), "a")  # nobody handles it: its time does not matter
    timeless.headers = [(name, value) for name, value in timeless.headers if name != "ce_time"]
    seen: list[str] = []
    for hours in (1, -1):
        since = datetime.now(UTC) + timedelta(hours=hours)
        handlers = Handlers(f"since{hours}", shop, since=since)
        handlers.on(OrderPlaced)(lambda _, event: seen.append(event.order))
        apply(url, [*delivered(url, order(1)), timeless], handlers=handlers)

    assert seen == ["1"]
    assert letters(url) == []
    assert rows(url, "select version from eventkit.checkpoints") == [(1,), (1,)]


def test_a_lost_race_of_an_append_is_tried_again(url: str) -> None:
    """A handler that expects a version reads it again; nothing is parked."""
    committed(url, lambda connection: store.append(connection, CHARGE, ChargeCard("1")))
    handlers = Handlers("careful", shop)
    calls: list[int] = []

    @handlers.on(ChargeCard)
    def charge(connection: Connection, command: ChargeCard) -> None:
        version = sum(1 for _ in store.read_stream(connection, order(1)))
        calls.append(version)
        if len(calls) <= 4:
            committed(url, lambda rival: store.append(rival, order(1), OrderPlaced("1")))
        store.append(connection, order(1), CardCharged(command.order), expected=version)

    apply(url, delivered(url, CHARGE), handlers=handlers)

    assert calls == [0, 1, 2, 3, 4]
    assert history(url)["order-1"] == ["OrderPlaced"] * 4 + ["CardCharged"]


def test_an_expectation_that_will_never_hold_parks_its_stream(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are applied."""
    monkeypatch.setattr(transaction_retry, "CONTENTION_ATTEMPTS", 2)
    streams = [shop.stream("charge_card", number) for number in (1, 2)]
    with psycopg.connect(url) as connection:
        for number, stream in enumerate(streams, 1):
            store.append(connection, stream, ChargeCard(str(number)))
    handlers = Handlers("wrong", shop, retry=Retry(attempts=1))

    @handlers.on(ChargeCard)
    def charge(connection: Connection, command: ChargeCard) -> None:
        store.append(connection, order(command.order), CardCharged("1"), expected=0 if command.order == "1" else 9)

    apply(url, delivered(url, *streams), handlers=handlers)

    assert letters(url) == [("charge_card-2", "failed")]
    assert history(url)["order-1"] == ["CardCharged"]


def test_processes_that_get_the_same_messages_take_effect_once(url: str) -> None:
    """In batches cut anywhere and in any order, at the same time."""
    with psycopg.connect(url) as connection:
        for number in range(10):
            store.append(connection, shop.stream("charge_card", number), *[ChargeCard(f"v{number}")] * 5)
    versioned = [delivered(url, shop.stream("charge_card", number)) for number in range(10)]
    loose = [unversioned(ChargeCard(f"u{number}"), str(number)) for number in range(50)]
    errors: list[BaseException] = []

    def process(seed: int) -> None:
        chance = random.Random(seed)
        try:
            with projector(url, payments()) as running:
                for _ in range(8):
                    chosen = [item for log in chance.sample(versioned, 4) for item in log[: chance.randrange(6)]]
                    running.apply([*chosen, *chance.sample(loose, 20)])
                running.apply([*loose, *(item for log in versioned for item in log)])
        except BaseException as error:  # noqa: BLE001 raised again below
            errors.append(error)

    threads = [threading.Thread(target=process, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert rows(url, "select count(*), count(distinct order_id) from charges") == [(100, 60)]
    assert letters(url) == []


@pytest.mark.parametrize(("point", "left"), [("applied_not_committed", 0), ("committed_not_acknowledged", 2)])
def test_killed_at_a_crash_point_each_message_takes_effect_once(url: str, point: str, left: int) -> None:
    """Delivered again to the process that comes after, with a version and without."""
    committed(url, lambda connection: store.append(connection, CHARGE, ChargeCard("1")))
    child = subprocess.run([sys.executable, "-m", __name__, url, point], cwd=ROOT, check=False, timeout=60)
    assert child.returncode == -9
    assert len(charges(url)) == left

    apply(url, _batch(url))

    assert charges(url) == [("1", 1), ("2", 1)]


def _batch(url: str) -> list[Message]:
    return [*delivered(url, CHARGE), unversioned(ChargeCard("2"), "a")]


def _die(url: str, point: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), 9)

    with projector(url, payments()) as running:
        if point == "applied_not_committed":
            OwnTransaction._check = die  # type: ignore[method-assign, assignment]
        else:
            Given.acknowledge = die  # type: ignore[method-assign, assignment]
        running.step(Given(_batch(url)))


def test_the_projector_runs_them_one_by_one_where_they_ask_for_it(url: str) -> None:
    """By the one command, from the store: a policy appends commands, handlers act on them."""
    with psycopg.connect(url) as connection:
        for number in range(5):
            store.append(connection, order(number), OrderPlaced(str(number)))
    for path in ("policy", "one_by_one"):
        command = [sys.executable, "-m", "eventkit.cli", "projector", "run", f"tests.messaging.payments:{path}"]
        settings = {**os.environ, "EVENTKIT_DATABASE_URL": url}
        done = subprocess.run(
            [*command, "--from", "store", "--until-idle", "0.3"],
            env=settings,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    assert charges(url) == [(str(number), 1) for number in range(5)]
    assert history(url)["order-3"] == ["OrderPlaced", "CardCharged"]
    story = rows(
        url, "select count(distinct metadata->>'correlation_id') from eventkit.events where stream like 'charge%'"
    )
    assert story == [(5,)]


def test_processes_share_a_topic_of_messages_and_survive_a_kill(url: str, kafka: KafkaServer | GivenKafka) -> None:
    """Over Kafka, in a transaction each, one process killed on the way and everything sent twice."""
    topic = f"shop.{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic)
    settings = environment(url, EVENTKIT_TRANSPORT_URL=f"kafka://{kafka.bootstrap}")
    arguments = ("tests.messaging.payments:one_by_one", "--topic", topic, "--group", topic)
    sent = [unversioned(ChargeCard(str(number)), f"id {number}", key=f"till {number % 7}") for number in range(60)]
    with running(settings, *arguments) as first, running(settings, *arguments) as second:
        publish(kafka, topic, sent[:40])
        wait_until(lambda: len(charges(url)) >= 10, timeout=60, what="the first charges")
        first.kill()
        publish(kafka, topic, sent)
        wait_until(lambda: len(charges(url)) == 60, timeout=90, what="the process that is left")
        second.send_signal(signal.SIGTERM)
        _, log = second.communicate(timeout=60)

    assert second.returncode == 0, log
    assert rows(url, "select count(*), count(distinct order_id) from charges") == [(60, 60)]
    assert letters(url) == []


def test_old_messages_are_pruned_and_parked_ones_stay(url: str) -> None:
    """Of all handlers or of one; a dry run changes nothing."""
    batch = [unversioned(ChargeCard("1"), "a"), unversioned(ChargeCard("2", 100), "b")]
    apply(url, batch)
    apply(url, batch, handlers=payments("others"))
    with psycopg.connect(url) as connection:
        connection.execute("update eventkit.inbox set received_at = now() - interval '8 days'")
    apply(url, [unversioned(ChargeCard("3"), "c")])

    assert _prune(url, "--older-than", "7d", "--dry-run") == "2 messages would be forgotten\n"
    assert _prune(url, "--older-than", "7d", "--handler", "others") == "1 messages were forgotten\n"
    assert _prune(url, "--older-than", "1w", "--json") == '{"messages": 1, "pruned": true}\n'
    assert _prune(url, "--older-than", "9d") == "0 messages were forgotten\n"

    left = rows(url, "select message, parked from eventkit.inbox where handler = 'payments' order by 1")
    assert left == [("message:b@till", True), ("message:c@till", False)]


def test_an_age_that_is_none_is_refused(url: str) -> None:
    """The error shows the expected form."""
    done = CliRunner().invoke(main, ["--database-url", url, "inbox", "prune", "--older-than", "soon"])

    assert done.exit_code == 2
    assert "'soon' is no age: it looks like 90s" in done.stderr


def _prune(url: str, *arguments: str) -> str:
    done = CliRunner().invoke(main, ["--database-url", url, "inbox", "prune", *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"retry": 3}, {"timeout": 0}, {"since": datetime(2026, 1, 1)}])  # noqa: DTZ001
def test_handlers_that_could_not_work_are_refused(wrong: dict[str, object]) -> None:
    """When they are declared."""
    with pytest.raises(ProjectionError, match="'wrong'"):
        Handlers("wrong", shop, **wrong)  # type: ignore[arg-type]


if __name__ == "__main__":
    _die(*sys.argv[1:])
