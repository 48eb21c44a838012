"""A Kafka transport whose members leave with it, also those that a failed test has left behind.

librdkafka spins forever on a consumer that is garbage-collected while an assignment waits for it.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing

from eventkit.transports.base import Resume
from eventkit.transports.kafka import KafkaTransport
from eventkit.transports.kafka.listener import KafkaListener
from eventkit.transports.kafka.subscription import KafkaSubscription


class LeavingKafka(KafkaTransport):
    """Closes lent objects; closing twice does nothing."""

    def __init__(self, url: str, options: dict[str, str] | None = None) -> None:
        super().__init__(url, options or {})
        self._lent = ExitStack()

    def subscribe(self, topics: Sequence[str], group: str, *, resume: Resume | None = None) -> KafkaSubscription:
        """Lend a member."""
        return self._lent.enter_context(closing(super().subscribe(topics, group, resume=resume)))

    def listen(self, topics: Sequence[str]) -> KafkaListener:
        """Lend a listener."""
        return self._lent.enter_context(closing(super().listen(topics)))

    def close(self) -> None:
        """Let all leave."""
        self._lent.close()
        super().close()
