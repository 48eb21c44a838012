"""watermill: its SQL subscriber's messages to its Kafka publisher, a Go program that is built at its first use."""

import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.peers.carrier import OUTBOX, Carrier, Place, ProcessCarrier
from benchmarks.peers.contestant import TableOutbox
from tests.servers import ServerMissing
from tests.servers.jars import CACHES

VERSION, SQL_VERSION, KAFKA_VERSION = "1.5.1", "4.1.2", "3.0.6"
_TABLE = f"watermill_{OUTBOX}"
_RELAY = CACHES / f"watermill-{VERSION}" / "relay"


class Watermill:
    """A message at a time, each awaited, as its interfaces promise."""

    name = "watermill"
    title = f"watermill {VERSION} (sql {SQL_VERSION}, kafka {KAFKA_VERSION})"
    settings = (
        "DefaultPostgreSQLSchema(SubscribeBatchSize=1000), PollInterval=1ms, pgx, partitioning marshaler, sarama: "
        "RequiredAcks=WaitForAll, Idempotent"
    )
    outbox = TableOutbox(
        _TABLE,
        {
            "uuid": "gen_random_uuid()",
            "payload": "({payload})::json",
            "metadata": "json_build_object('key', {key})",
            "transaction_id": "pg_current_xact_id()",
        },
    )

    def prepare(self) -> None:
        """Build it; Go itself knows whether there is anything to do."""
        go = shutil.which("go")
        if not go:
            raise ServerMissing("watermill needs Go 1.25 or later to be built: install it from https://go.dev/dl")
        command = [go, "build", "-o", str(_RELAY), "."]
        built = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        if built.returncode:
            raise ServerMissing(f"watermill's relay could not be built: {built.stderr[-2000:]}")

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        return ProcessCarrier(place, [str(_RELAY), place.database_url, place.bootstrap, place.topic], table=_TABLE)
