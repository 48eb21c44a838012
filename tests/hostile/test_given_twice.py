"""One rule for every broker: a name that eventkit reads is there once. A message that has it twice is not believed.

Readers differ in which of the two counts, so neither does. An event's own data is its writer's: the last one counts.
"""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
import pydantic
import pytest
from pika import data as amqp

from eventkit.domain.codec import Codec
from eventkit.domain.json_members import members
from eventkit.transports.json_headers import headers_from_json
from tests.hostile.conftest import Broker
from tests.hostile.foreign import BROKERS, Foreign
from tests.hostile.kinds import ODD, Table, event
from tests.hostile.reading import swallow

STRUCTURED = "application/cloudevents+json"
ATTRIBUTES: dict[str, Any] = {
    "specversion": "1.0", "id": "1", "source": "shop", "type": "Ordered", "time": "2026-01-01T00:00:00Z",
    "streamversion": 1, "datacontenttype": "application/json", "correlationid": "c", "metadata": "{}", "other": "x",
    "data": {"customer": "odd", "amount": 1},
}  # fmt: skip
HEADERS = [*dict(event().headers), "ce_dataschemaversion", "ce_correlationid", "ce_metadata"]


def as_json(pairs: list[tuple[str, Any]]) -> str:
    """Return a JSON object; a name may be there twice."""
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}"


def structured(more: str, value: object) -> Foreign:
    """Return a structured event with one more member."""
    return event(
        f"order-{more}", value=as_json([*ATTRIBUTES.items(), (more, value)]).encode(), **{"content-type": STRUCTURED}
    )


def twice(name: str) -> list[tuple[str, str]]:
    """Return an event's headers, one of them twice."""
    headers = {"ce_dataschemaversion": "1", "ce_correlationid": "c", "ce_metadata": "{}", **dict(event().headers)}
    return [*headers.items(), (name, headers[name])]


def entry(name: str, text: str) -> bytes:
    """Return an entry of an AMQP table."""
    pieces: list[bytes] = []
    amqp.encode_short_string(pieces, name)
    amqp.encode_value(pieces, text)
    return b"".join(pieces)


def with_header_twice(broker: str, name: str) -> Foreign:
    """Return a message with a header twice, in the broker's own form."""
    key, headers = f"order-2{name}", twice(name)
    if broker in ("local", "kafka"):
        return Foreign(key, ODD, headers)
    if broker == "redis":
        return Foreign(own={"key": key, "value": ODD, "headers": as_json(headers)})
    if broker == "activemq":
        return Foreign(value=ODD, own={"eventkit-key": key, "eventkit-headers": as_json(headers),
                                       "content-length": str(len(ODD))})  # fmt: skip
    return Foreign(value=ODD, own=Table(b"".join(entry(*each) for each in [("cloudEvents:subject", key), *headers])))


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_a_message_that_gives_a_name_twice_is_a_dead_letter(broker: Broker, url: str) -> None:
    """A header, an attribute, a member of the metadata; also where both values are the same."""
    messages = [structured(name, value) for name, value in ATTRIBUTES.items()]
    messages += [structured("data_base64", "e30="), event("order-metadata1", ce_metadata='{"a": 1, "a": 2}')]
    messages += [with_header_twice(broker.name, name) for name in HEADERS]
    if broker.name == "rabbitmq":
        subjects = {"cloudEvents:subject": "order-a", "ce-subject": "order-b"}
        messages.append(Foreign(value=ODD, own=Table(b"".join(entry(*each) for each in subjects.items()))))

    told = swallow(url, broker.transport, broker.send, messages)

    assert told.applied == 0
    assert len(told.letters) == len(messages)


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ('{"a": null, "b": null, "c": "1", "c": "2"}', "c"), ('{"a": "1", "a": null}', "a"), ('{"": "", "": ""}', ""),
        ('{"a": "1", "\\u0061": "2"}', "a"), ('{"a\\"b": "1", "a\\u0022b": "2"}', 'a"b'), ('{"a\\"b": "1"}', None),
        ('{"a": "\\"", "b": "\\\\"}', None), ('{"a": "x\\"y\\"", "c": "1"}', None), ("{}", None),
        ('{ "a" : "1" ,\n"b": null}', None),
    ],
)  # fmt: skip
def test_a_repeated_name_is_found_in_any_spelling(text: str, repeated: str | None) -> None:
    """Names with quotes, escapes and blanks; a name that is there once is none."""
    for read in (members, headers_from_json):
        for form in (text, text.encode()):
            if repeated is None:
                assert dict(read(form)).keys() == json.loads(text).keys()
            else:
                with pytest.raises(ValueError, match=f"the name {repeated!r} is there twice"):
                    read(form)


@dataclass(frozen=True)
class Plain:
    """A dataclass."""

    n: int


class Quick(msgspec.Struct, frozen=True):
    """A struct."""

    n: int


class Modelled(pydantic.BaseModel, frozen=True):
    """A model."""

    n: int


def test_of_two_members_in_data_the_last_one_counts(database_url: str) -> None:
    """For each kind of class, as for PostgreSQL, where dead letters and events are kept."""
    text = '{"n": 1, "n": 2}'

    assert [Codec(kind).decode(text).n for kind in (Plain, Quick, Modelled)] == [2, 2, 2]
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select %s::jsonb", [text]).fetchone() == ({"n": 2},)
