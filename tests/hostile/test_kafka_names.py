"""Headers that librdkafka sends and its Python client does not: names that are no UTF-8, or hold NUL."""

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest

from tests.hostile.conftest import Broker
from tests.hostile.reading import joined

if TYPE_CHECKING:
    from eventkit.domain.message import Message

TOPIC, PARTITION, VALUE, HEADERS, END = 1, 3, 4, 10, 0  # RD_KAFKA_VTYPE_...
WARM = [b"trace"] * 50  # Python calls a method in a shorter way once it was called often: an error may pass unseen
NAMES = [*WARM, b"\xff\xfe", b"a\0b", b"", b"trace"]


def librdkafka() -> Any:  # noqa: ANN401 a library has no types
    """Load the one that the client brings."""
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    found = [*folder.glob("librdkafka-*.so*"), *folder.glob("librdkafka.so*")]
    if not found:
        pytest.skip(f"the Kafka client brings no librdkafka in {folder}")
    library = ctypes.CDLL(str(found[0]))
    for name in ("conf_new", "new", "headers_new"):
        getattr(library, f"rd_kafka_{name}").restype = ctypes.c_void_p
    return library


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_a_header_with_any_name_ends_no_reader(broker: Broker) -> None:
    """The client's own answer to such a name is an error, and to the second question a crash of the process."""
    library, pointer, text = librdkafka(), ctypes.c_void_p, ctypes.c_char_p
    servers = broker.url.removeprefix("kafka://").encode()
    config, error = pointer(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    library.rd_kafka_conf_set(config, text(b"bootstrap.servers"), text(servers), error, ctypes.c_size_t(512))
    producer = pointer(library.rd_kafka_new(0, config, error, ctypes.c_size_t(512)))
    topic = f"names.{id(producer)}"

    with joined(broker.transport, topic) as source:
        for name in NAMES:
            headers = pointer(library.rd_kafka_headers_new(ctypes.c_size_t(1)))
            library.rd_kafka_header_add(
                headers, text(name), ctypes.c_ssize_t(len(name)), text(b"v"), ctypes.c_ssize_t(1)
            )
            refused = library.rd_kafka_producev(
                producer, TOPIC, text(topic.encode()), PARTITION, ctypes.c_int32(0), VALUE, text(b"some"),
                ctypes.c_size_t(4), HEADERS, headers, END,
            )  # fmt: skip
            assert not refused
        assert library.rd_kafka_flush(producer, 30_000) == 0
        received: list[Message] = []
        while len(received) < len(NAMES):
            received += source.receive()

    assert [message.value for message in received] == [b"some"] * len(NAMES)
    reasons = [message.unreadable for message in received]
    assert reasons == [*[None] * len(WARM), "the name of a header is not UTF-8", None, None, None]
    library.rd_kafka_destroy(producer)
