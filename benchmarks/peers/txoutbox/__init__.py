"""txoutbox: an asyncio relay that claims rows by a lease; publishing is a function of the user's, here aiokafka's."""

from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.peers.carrier import OUTBOX, Carrier, Place, ProcessCarrier
from benchmarks.peers.contestant import TableOutbox
from benchmarks.peers.environment import python

VERSION = "0.2.2"
_FOLDER = Path(__file__).parent


class TxOutbox:
    """One process, order by key."""

    name = "txoutbox"
    title = f"txoutbox {VERSION}"
    settings = (
        'PostgresStorage(delete_on_ack=True, strict_ordering=True, notify_channel="outbox"), '
        "RelayConfig(batch_size=200, concurrency=200), aiokafka 0.14.0 send_and_wait: acks=all, enable_idempotence, "
        "max_batch_size=131072"
    )
    outbox = TableOutbox(OUTBOX, {"topic": "'order'", "key": "{key}", "payload": "convert_to({payload}, 'UTF8')"})

    def prepare(self) -> None:
        """Make its environment."""
        python("txoutbox", _FOLDER / "requirements.txt")

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        interpreter = python("txoutbox", _FOLDER / "requirements.txt")
        relay = str(_FOLDER / "relay.py")
        return ProcessCarrier(place, [interpreter, relay, place.database_url, place.bootstrap, place.topic])
