"""A broker with Kafka's protocol inside this process: librdkafka's mock cluster, from confluent-kafka.

Producers, consumer groups, headers, idempotence and transactions work, also from other processes, until this process
ends. Messages are in memory only: a partition keeps 5 MiB or 100,000 batches, then drops its oldest without an error.
Topics have no settings. A rebalance takes one second less than `session.timeout.ms`: set that to a few seconds, its
default is 45. Faults can be injected (`set_down`, `push_request_errors`).
"""

import ctypes
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import confluent_kafka

from eventkit.errors import EmbeddedUnavailable
from eventkit.forks import reset_in_fork

NOTICE = "embedded broker, not durable"
PRODUCER = 0
NO_ERROR = 0
PARTITIONS = 6
MESSAGE_SIZE = 512
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "rd_kafka_conf_new": (ctypes.c_void_p, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_new": (ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [ctypes.c_void_p]),
    "rd_kafka_err2str": (ctypes.c_char_p, [ctypes.c_int]),
    "rd_kafka_mock_cluster_new": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [ctypes.c_void_p]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [ctypes.c_void_p]),
    "rd_kafka_mock_topic_create": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_down": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)],
    ),
}


class EmbeddedKafka:
    """A mock cluster, from `start()` to `stop()` or inside a `with`."""

    def __init__(self, *, brokers: int = 1) -> None:
        """Take the number of brokers, which are numbered from 1."""
        self._brokers = brokers
        self._library: ctypes.CDLL | None = None
        self._client: int | None = None
        self._cluster: int | None = None
        self.bootstrap = ""
        reset_in_fork(self)

    def forked(self) -> None:
        """Forget the brokers in a forked child: it can reach them by `url`, but cannot end them."""
        self._library, self._client, self._cluster = None, None, None

    @property
    def url(self) -> str:
        """The address as a transport URL."""
        return f"kafka://{self.bootstrap}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the brokers on free ports of 127.0.0.1; EmbeddedUnavailable when librdkafka cannot."""
        library = self._library = _librdkafka()
        self._client = _client(library)
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, self._brokers)
        if not self._cluster:
            self.stop()
            raise EmbeddedUnavailable(
                f"librdkafka could not start a mock cluster of {self._brokers} brokers: are there free ports?"
            )
        self.bootstrap = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        # A group gets its first message after 0.2 s instead of 3 s.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        return self

    def stop(self) -> None:
        """End the brokers, and delete their messages."""
        if self._library and self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        if self._library and self._client:
            self._library.rd_kafka_destroy(self._client)
        self._library, self._client, self._cluster = None, None, None

    def create_topic(self, name: str, partitions: int = PARTITIONS) -> None:
        """Create a topic; a topic that is not created here gets four partitions at its first use."""
        self._check(f"create topic {name!r}", self._call("topic_create", name.encode(), partitions, self._brokers))

    def set_down(self, broker: int = 1) -> None:
        """Disconnect a broker from the network."""
        self._check(f"take broker {broker} down", self._call("broker_set_down", broker))

    def set_up(self, broker: int = 1) -> None:
        """Connect a broker again, with its messages."""
        self._check(f"bring broker {broker} up", self._call("broker_set_up", broker))

    def push_request_errors(self, api_key: int, errors: Sequence[int]) -> None:
        """Answer the next requests of one kind with these error codes, one each; `api_key` 0 is Kafka's Produce."""
        self._call("push_request_errors_array", api_key, len(errors), (ctypes.c_int * len(errors))(*errors))

    def _call(self, name: str, *arguments: object) -> int:
        if self._library is None or self._cluster is None:
            raise EmbeddedUnavailable("this embedded Kafka is not started: call start() or use it in a `with`")
        code: int = getattr(self._library, f"rd_kafka_mock_{name}")(self._cluster, *arguments)
        return code

    def _check(self, action: str, code: int) -> None:
        if code != NO_ERROR and self._library:
            reason = self._library.rd_kafka_err2str(code).decode()
            raise EmbeddedUnavailable(f"the embedded Kafka at {self.bootstrap} could not {action}: {reason}")


def _librdkafka() -> ctypes.CDLL:
    """Return the library that confluent_kafka is linked to, loaded through its extension module."""
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    try:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        release = confluent_kafka.libversion()[0]
        raise EmbeddedUnavailable(
            f"librdkafka {release} has no mock cluster ({error}): install confluent-kafka 2.6 or newer"
        ) from error
    return library


def _client(library: ctypes.CDLL) -> int:
    """Return a client that only holds the mock cluster."""
    message = ctypes.create_string_buffer(MESSAGE_SIZE)
    configuration = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(configuration, b"log_level", b"0", message, MESSAGE_SIZE)
    client: int | None = library.rd_kafka_new(PRODUCER, configuration, message, MESSAGE_SIZE)
    if not client:
        raise EmbeddedUnavailable(f"librdkafka did not start: {message.value.decode()}")
    return client
