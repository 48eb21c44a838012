"""faststream-outbox: rows claimed by a lease, each through FastStream's handler chain to its Kafka publisher."""

from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.peers.carrier import OUTBOX, Carrier, Place, ProcessCarrier
from benchmarks.peers.contestant import TableOutbox
from benchmarks.peers.environment import python

VERSION = "0.19.0"
_FOLDER = Path(__file__).parent


class FastStreamOutbox:
    """Sixteen workers: its fastest. Order is documented as best effort, and one worker does not keep it either."""

    name = "faststream_outbox"
    title = f"faststream-outbox {VERSION}"
    settings = (
        "asyncpg (LISTEN), max_workers=16, fetch_batch_size=1000, terminal_flush_batch_size=500, "
        "min_fetch_interval=0.005, max_fetch_interval=0.01, apply_types=False, the body not decoded, "
        "KafkaBroker: acks=all, enable_idempotence"
    )
    outbox = TableOutbox(
        OUTBOX,
        {
            "queue": "'orders'",
            "payload": "convert_to({payload}, 'UTF8')",
            "headers": "jsonb_build_object('key', {key}, 'correlation_id', gen_random_uuid())",
        },
        returning=f"returning id, pg_notify('outbox_{OUTBOX}', queue)",
    )

    def prepare(self) -> None:
        """Make its environment."""
        python("faststream-outbox", _FOLDER / "requirements.txt")

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        interpreter = python("faststream-outbox", _FOLDER / "requirements.txt")
        relay = str(_FOLDER / "relay.py")
        return ProcessCarrier(place, [interpreter, relay, place.database_url, place.bootstrap, place.topic])
