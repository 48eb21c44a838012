"""Logs a warning when a client's brokers are away, repeated every 30 s, and one line when they are back."""

import logging
import time

from confluent_kafka import KafkaError

from eventkit.transports.kafka.address import Address

logger = logging.getLogger("eventkit.transports.kafka")

_LOG_INTERVAL = 30.0  # seconds between two equal warnings
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
    """One client's error callback, called within `poll`. Never raises.

    `warn` is False for a client whose caller waits for an answer: the caller gets an exception instead of a warning.
    """

    def __init__(self, address: Address, *, warn: bool = True) -> None:
        self._address = address
        self._level = logging.WARNING if warn else logging.DEBUG
        self._logged = 0.0
        self.away = False
        self.refused = False  # a retry cannot succeed
        self.reason = ""

    def __call__(self, error: KafkaError) -> None:
        """Record an error of the client."""
        if error.code() not in _GONE:
            self.reason = self._address.safe(error.str())
            logger.debug("Kafka at %s: %s", self._address.hosts, self.reason)
            return
        self.refused = self.refused or error.code() in _REFUSED
        if not self.reason or error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.reason = self._address.safe(error.str())
        now = time.monotonic()
        if not self.away or now - self._logged > _LOG_INTERVAL:
            logger.log(self._level, "Kafka at %s is away: %s; retrying", self._address.hosts, self.reason)
            self._logged = now
        self.away = True

    def back(self) -> None:
        """Log that the brokers answer again."""
        if self.away:
            logger.info("Kafka at %s is back", self._address.hosts)
        self.away, self.refused, self.reason = False, False, ""
