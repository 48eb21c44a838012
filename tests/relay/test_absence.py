"""The relay's logs and its behaviour when a part it needs is misconfigured, away, or comes back."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.storage.migrate import upgrade
from tests.relay.conftest import append, read_along
from tests.relay.process import RelayProcess
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

NOBODY = "127.0.0.1:1"


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that the test may crash."""
    with EmbeddedPostgres() as server:
        upgrade(server.url)
        yield server


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql://postgres@{NOBODY}/postgres", "cannot be reached"),
        ("mysql://somewhere/shop", "scheme 'mysql'"),
    ],
)
def test_a_database_that_cannot_be_used_ends_it_with_a_sentence(url: str, words: str, tmp_path: Path) -> None:
    """At the start it does not wait: a wrong address is an error, and the exit code is not zero."""
    with RelayProcess(url, f"kafka://{NOBODY}", tmp_path / "log") as relay:
        assert relay.wait(timeout=60) != 0

    assert words in relay.log()
    assert "Traceback" not in relay.log()


def test_a_database_without_tables_ends_it_with_a_sentence(empty_database_url: str, tmp_path: Path) -> None:
    """Missing migrations are an error, with the command that runs them."""
    with RelayProcess(empty_database_url, f"kafka://{NOBODY}", tmp_path / "log") as relay:
        assert relay.wait(timeout=60) == 1

    assert "eventkit db upgrade" in relay.log()


def test_a_broker_that_does_not_answer_ends_it_with_a_sentence(database_url: str, tmp_path: Path) -> None:
    """A wrong broker address is an error at the start."""
    with RelayProcess(database_url, f"kafka://{NOBODY}", tmp_path / "log") as relay:
        assert relay.wait(timeout=60) == 1

    assert "does not answer" in relay.log()
    assert "Traceback" not in relay.log()


def test_the_local_transport_is_refused(database_url: str, tmp_path: Path) -> None:
    """`local` never leaves its process, so a relay process has nobody to send to."""
    with RelayProcess(database_url, "local://shop", tmp_path / "log") as relay:
        assert relay.wait(timeout=60) == 2

    assert "does not leave its process" in relay.log()


def test_it_continues_when_the_database_is_back(
    own_postgres: EmbeddedPostgres, kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    """A crash of the database is waited out: no restart of the relay, nothing lost."""
    with (
        read_along(kafka.url, kafka_topic) as topic,
        RelayProcess(own_postgres.url, kafka.url, tmp_path / "log") as relay,
    ):
        _append_one(own_postgres, "order-1", kafka_topic)
        topic.has(1)
        own_postgres.crash()  # before or after its settlement: it may be sent again
        relay.says("relay waits")
        own_postgres.restart()
        _append_one(own_postgres, "order-2", kafka_topic)

        wait_until(lambda: ("order-2", 1) in topic.has(2), timeout=60, what="the second event")
        assert list(dict.fromkeys(topic.arrived)) == [("order-1", 1), ("order-2", 1)]
        assert "Traceback" not in relay.log()


def test_it_continues_when_the_broker_is_back(database_url: str, tmp_path: Path) -> None:
    """A broker killed with -9 is waited out: events appended meanwhile arrive when it is there again."""
    with KafkaServer().start() as broker, psycopg.connect(database_url) as writer:
        broker.create_topic("shop.order")
        with RelayProcess(database_url, broker.url, tmp_path / "log") as relay:
            append(writer, "order-1")
            writer.commit()
            relay.says("holding")
            broker.kill()
            for _ in range(3):
                append(writer, "order-1")
            writer.commit()
            relay.says("the broker is away")
            broker.start()

            with read_along(broker.url, "shop.order") as topic:
                arrived = list(dict.fromkeys(topic.has(4, timeout=90)))
            assert arrived == [("order-1", version) for version in (1, 2, 3, 4)]


def _append_one(server: EmbeddedPostgres, stream: str, topic: str) -> None:
    with psycopg.connect(server.url) as writer:
        append(writer, stream, topic=topic)
