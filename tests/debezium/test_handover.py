"""Debezium takes over from the relay and gives back, on real PostgreSQL, Kafka and Kafka Connect."""

from pathlib import Path

from eventkit.storage.schema import differences
from tests.debezium.campaign import HandOver, Writers
from tests.servers.connect import ConnectServer
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer, by_tcp


def test_debezium_takes_over_and_gives_back_while_writers_run(
    postgres: PostgresServer, database_url: str, tmp_path: Path
) -> None:
    """No event is lost or first delivered out of order, the messages are the relay's, and the read model is exact.

    Switches are killed and turned back, Connect is killed with -9, and one transaction is open across a switch.
    """
    url = by_tcp(database_url, postgres.url)
    with KafkaServer(heap="512m") as kafka, ConnectServer(kafka.bootstrap) as connect:
        campaign = HandOver(url, kafka, connect, tmp_path)

        outcome = campaign.run(Writers(url, count=2, streams=20, pause=0.02), step=100)

    assert outcome.clean, outcome
    assert min(outcome.by_mode.values()) > 0
    assert differences(url, "eventkit") == []
