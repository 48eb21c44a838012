"""GitHub's webhook payloads as events: as a dict, as Pydantic models and as Structs, and through PostgreSQL."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from eventkit.domain.catalog.schema import schema_of
from eventkit.domain.codec.codec import Codec
from eventkit.domain.codec.jsonb import stored_size
from tests.conftest import lend
from tests.domain.catalog.sent import faults
from tests.domain.codec.models_of import Make, a_model, a_struct, type_of
from tests.servers.payloads import Payloads


@dataclass(frozen=True)
class Received:
    """A payload as it came."""

    payload: dict[str, Any]


@pytest.fixture(scope="module")
def received() -> Iterator[list[dict[str, Any]]]:
    """The payloads, all of them."""
    for payloads in lend("webhook payloads", Payloads):
        yield payloads.all


def stored(url: str, texts: list[bytes]) -> list[str]:
    """Return JSON as jsonb gives it back."""
    with psycopg.connect(url) as connection:
        query = "select d::text from unnest(%s::jsonb[]) with ordinality t(d, n) order by n"
        return [row[0] for row in connection.execute(query, [[text.decode() for text in texts]])]


def test_as_a_dict(database_url: str, received: list[dict[str, Any]]) -> None:
    """Each comes back equal, from its own JSON and from PostgreSQL's, whose size is the counted one."""
    codec = Codec(Received)
    events = [Received(payload) for payload in received]
    texts = [codec.encode(event) for event in events]

    back = stored(database_url, texts)

    assert [codec.decode(text) for text in texts] == [codec.decode(text) for text in back] == events
    assert [stored_size(text) for text in texts] == [len(text.encode()) for text in back]


@pytest.mark.parametrize("make", [a_model, a_struct])
def test_as_classes(database_url: str, received: list[dict[str, Any]], make: Make) -> None:
    """With a class for each object: URLs are URLs in Pydantic models, times are times; their schemas accept them."""
    codecs = [Codec(type_of(payload, make)) for payload in received]
    events = [codec.decode(json.dumps(payload)) for codec, payload in zip(codecs, received, strict=True)]
    texts = [codec.encode(event) for codec, event in zip(codecs, events, strict=True)]

    back = stored(database_url, texts)

    for codec, event, text, given in zip(codecs, events, texts, back, strict=True):
        assert codec.decode(text) == codec.decode(given) == event
        assert codec.encode(codec.decode(text)) == text
        assert json.loads(codec.encode(codec.decode(given))) == json.loads(text)
        assert [*faults(schema_of(type(event)), given)] == []
