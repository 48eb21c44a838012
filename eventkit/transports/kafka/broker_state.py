"""What the client says about its brokers, as one sentence when they go and one when they are back, never a flood."""

import logging
import time

from confluent_kafka import KafkaError

from eventkit.transports.kafka.address import Address

logger = logging.getLogger("eventkit.transports.kafka")

_REPEAT = 30.0  # seconds until the same is said again
_GONE = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 the client's local errors are named so
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._SSL,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)
_REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001


class BrokerState:
    """One client's news; called by the client with an error, from within `poll`. Never raises.

    `aloud` is False where somebody waits for the client's answer, and is told by an exception.
    """

    def __init__(self, address: Address, *, aloud: bool = True) -> None:
        self._address = address
        self._level = logging.WARNING if aloud else logging.DEBUG
        self._told = 0.0
        self.away = False
        self.refused = False  # trying again will not help
        self.reason = ""

    def __call__(self, error: KafkaError) -> None:
        """Take an error of the client's."""
        if error.code() not in _GONE:
            self.reason = self._address.safe(error.str())
            logger.debug("Kafka at %s: %s", self._address.hosts, self.reason)
            return
        self.refused = self.refused or error.code() in _REFUSED
        if not self.reason or error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.reason = self._address.safe(error.str())
        now = time.monotonic()
        if not self.away or now - self._told > _REPEAT:
            logger.log(self._level, "Kafka at %s is away: %s; trying again", self._address.hosts, self.reason)
            self._told = now
        self.away = True

    def back(self) -> None:
        """Say that it answers again."""
        if self.away:
            logger.info("Kafka at %s is back", self._address.hosts)
        self.away, self.refused, self.reason = False, False, ""
