"""`eventkit projector run`: from Kafka and from the store alone, several at once, and every way to ask in vain."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from eventkit.domain.message import Message
from eventkit.transports.base import open_transport
from tests.projection.shop import letters, orders, rows, store
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
MODELS = "tests.projection.read_models"


def command(*arguments: str) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "eventkit.cli", "projector", "run", *arguments]


def environment(url: str, **others: str) -> dict[str, str]:
    """Return the settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTKIT_")}
    return {**kept, "EVENTKIT_DATABASE_URL": url, **others}


def run(url: str, *arguments: str, **others: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(url, **others),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(settings: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command beside the test."""
    with subprocess.Popen(
        command(*arguments), env=dict(settings), cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def counted(log: str) -> dict[str, int]:
    """Return the counters of the last line that has them."""
    found = re.findall(r"projector \S+: (applied=.*)", log)
    return {name: int(value) for name, _, value in (pair.partition("=") for pair in found[-1].split())}


def test_a_read_model_needs_no_broker(url: str) -> None:
    """From the store alone, and on from where the last process stopped."""
    store(url, [*orders("order-1", 50), *orders("order-2", 50, customer="bob")])
    first = run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")
    store(url, orders("order-1", 10, first=51))

    second = run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert rows(url) == [("ann", 60, 60), ("bob", 50, 50)]
    nothing = dict.fromkeys(("duplicates", "unknown", "unhandled", "parked", "repaired"), 0)
    assert counted(first.stderr) == {"applied": 100, **nothing}
    assert (counted(second.stderr)["applied"], counted(second.stderr)["duplicates"]) == (10, 0)


def test_the_position_is_kept_below_an_open_append(url: str) -> None:
    """A late commit is read by the process that comes after."""
    with psycopg.connect(url) as late:
        late.execute("select nextval(pg_get_serial_sequence('eventkit.events', 'position'))")
        late.execute(
            "insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata) values"
            " (gen_random_uuid(), 'shop', 'order-9', 1, 'Ordered', 1, '{\"customer\": \"late\", \"amount\": 1}', '{}')"
        )
        store(url, orders("order-1", 5))
        run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")
        assert rows(url) == [("ann", 5, 5)]

    run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")

    assert rows(url) == [("ann", 5, 5), ("late", 1, 1)]


def test_from_the_store_a_second_process_stands_by_and_takes_over(url: str) -> None:
    """One works; when it is killed, the other takes over."""
    settings = environment(url)
    arguments = (f"{MODELS}:totals", "--from", "store")
    with running(settings, *arguments) as first:
        store(url, orders("order-1", 5))
        wait_until(lambda: rows(url) == [("ann", 5, 5)], timeout=60, what="the first process")
        with running(settings, *arguments) as second:
            first.kill()
            store(url, orders("order-1", 5, first=6))
            wait_until(lambda: rows(url) == [("ann", 10, 10)], timeout=60, what="the second process")

            second.send_signal(signal.SIGTERM)
            _, log = second.communicate(timeout=60)

    assert second.returncode == 0
    assert counted(log)["applied"] == 5


def test_several_projections_run_in_one_process(url: str) -> None:
    """A path may name a sequence of them."""
    store(url, orders("order-1", 5))

    done = run(url, f"{MODELS}:both", "--from", "store", "--until-idle", "0.3")

    assert done.returncode == 0, done.stderr
    assert rows(url, "select count(*) from eventkit.checkpoints") == [(2,)]
    assert rows(url) == [("ann", 10, 10)]


def test_processes_share_a_topic_by_consumer_group_and_survive_a_kill(
    url: str, kafka: KafkaServer | GivenKafka
) -> None:
    """Two processes on one topic, one killed on the way: the read model is exact, under any redelivery."""
    topic = f"shop.{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic)
    settings = environment(url, EVENTKIT_TRANSPORT_URL=f"kafka://{kafka.bootstrap}")
    arguments = (f"{MODELS}:totals", "--topic", topic, "--group", topic)
    with running(settings, *arguments) as first, running(settings, *arguments) as second:
        publish(kafka, topic, [event for number in range(30) for event in orders(f"order-{number}", 20)])
        wait_until(lambda: rows(url) == [("ann", 600, 600)], timeout=60, what="both processes")
        publish(kafka, topic, [event for number in range(30) for event in orders(f"order-{number}", 20, first=21)])
        first.kill()
        wait_until(lambda: rows(url) == [("ann", 1200, 1200)], timeout=90, what="the process that is left")
        publish(kafka, topic, orders("order-1", 40))  # a relay that sends again

        second.send_signal(signal.SIGTERM)
        _, log = second.communicate(timeout=60)

    assert second.returncode == 0, log
    assert rows(url) == [("ann", 1200, 1200)]
    assert letters(url) == []


def test_the_topics_are_those_of_the_stores_streams(url: str, kafka: KafkaServer | GivenKafka) -> None:
    """By default a projection reads the topics of its catalog's streams."""
    category = f"t{uuid.uuid4().hex[:8]}"
    kafka.create_topic(f"shop.{category}")
    events = orders(f"{category}-1", 5)
    store(url, events)
    with psycopg.connect(url) as connection:
        connection.execute("insert into eventkit.streams values (%s, 5)", (f"{category}-1",))
    publish(kafka, f"shop.{category}", events)

    done = run(
        url,
        f"{MODELS}:totals",
        "--group",
        category,
        "--until-idle",
        "3",
        EVENTKIT_TRANSPORT_URL=f"kafka://{kafka.bootstrap}",
    )

    assert done.returncode == 0, done.stderr
    assert rows(url) == [("ann", 5, 5)]
    assert f"reads shop.{category}" in done.stderr


def publish(kafka: KafkaServer | GivenKafka, topic: str, messages: list[Message]) -> None:
    """Send messages and wait until they are confirmed."""
    transport = open_transport(f"kafka://{kafka.bootstrap}")
    publisher = transport.publisher()
    for tag, item in enumerate(messages):
        item.topic, item.tag = topic, tag
    publisher.send(messages)
    missing = set(range(len(messages)))

    def all_confirmed() -> bool:
        missing.difference_update(publisher.reports(1).confirmed)
        return not missing

    wait_until(all_confirmed, timeout=60)
    publisher.close(5)
    transport.close()


@pytest.mark.parametrize(
    ("path", "code", "sentence"),
    [
        ("totals", 2, "must look like package.module:projection"),
        ("nowhere.to:be_found", 1, "no module 'nowhere'"),
        (f"{MODELS}:missing", 1, "has no 'missing'"),
        (f"{MODELS}:number", 1, "is a int, not a TableProjection"),
        (f"{MODELS}:nothing", 1, "is an empty sequence"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_sentence(url: str, path: str, code: int, sentence: str) -> None:
    """And a non-zero exit."""
    done = run(url, path, "--from", "store")

    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_read_model_table_is_one_sentence(database_url: str) -> None:
    """It says whose the table is."""
    done = run(database_url, f"{MODELS}:totals", "--from", "store")

    assert done.returncode == 1
    assert done.stderr.startswith("eventkit: table 'totals' of projection 'totals' does not exist in this database")
    assert len(done.stderr.splitlines()) == 1


def test_a_local_transport_and_passwords_on_the_command_line_are_refused(url: str) -> None:
    """No message would arrive; others would read the password."""
    local = run(url, f"{MODELS}:totals", "--topic", "t", EVENTKIT_TRANSPORT_URL="local://shop")
    password = run(url, f"{MODELS}:totals", "--from", "store", "--store-url", "postgresql://a:secret@localhost/b")

    assert local.returncode == password.returncode == 2
    assert "does not leave its process" in local.stderr
    assert "secret" not in password.stderr
