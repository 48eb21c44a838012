"""Decrypts the personal data of a batch for its handlers; messages, dead letters and logs stay encrypted.

Decrypted values never become part of a message, so a dead letter holds the message as it arrived. A projector without
master keys has no `Decrypter`: its handlers get redacted values.
"""

from collections.abc import Callable, Sequence

from eventkit.domain.codec import marked
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.master_keys import MasterKeys
from eventkit.projection.batch import Arrival
from eventkit.projection.dispatch import encoded
from eventkit.storage.db import Executor, Synchronous, database_errors
from eventkit.storage.privacy import Encryption

_EXECUTOR = Executor("projector", writes=False, bind_arguments=None)


class Decrypter:
    """Decrypts with keys from the event store's database."""

    def __init__(self, masters: MasterKeys, schema: str, connection: Callable[[], Synchronous]) -> None:
        """Read keys over the connection that `connection` returns, when they are first needed."""
        self._encryption = Encryption(schema, masters)
        self._connection = connection

    def opened(self, arrivals: Sequence[Arrival]) -> dict[int, EncodedEvent]:
        """Return the events that have encrypted values, decrypted, by the `id` of their arrivals; one query at most."""
        events = {id(arrival): encoded(arrival) for arrival in arrivals if marked(arrival.message.value)}
        if not events:
            return events
        with database_errors():
            _EXECUTOR.run(self._connection(), self._encryption.open(list(events.values())))
        return {arrival: event for arrival, event in events.items() if event.opened}
