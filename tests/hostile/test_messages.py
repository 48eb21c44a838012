"""No message stops a projector: each kind, on each broker where it can be sent."""

from datetime import UTC

import pytest
from sqlalchemy import Connection

from eventkit.domain.envelope import Envelope
from eventkit.messaging.handlers import Handlers
from tests.hostile.conftest import Broker
from tests.hostile.foreign import BROKERS, Foreign
from tests.hostile.kinds import EVERYWHERE, OWN, event
from tests.hostile.reading import swallow
from tests.projection.shop import Ordered, shop


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_the_event_behind_any_message_is_applied(broker: Broker, url: str) -> None:
    """An unreadable or failing message is a dead letter, in a batch with everything else; the others take effect."""
    kinds = {**EVERYWHERE, **OWN[broker.name]}

    told = swallow(url, broker.transport, broker.send, [each for kind in kinds.values() for each in kind])

    sent = sum(map(len, kinds.values()))
    assert told.told >= sent - 4  # letters kept once
    assert all(len(error) < 2_000 for _, _, error in told.letters)


def notes() -> Handlers:
    """Return handlers that take the envelope, and messages without a version."""
    handlers = Handlers("notes", shop)

    @handlers.on(Ordered)
    def ordered(_: Connection, event: Ordered, envelope: Envelope[Ordered]) -> None:
        assert envelope.recorded_at.tzinfo is UTC
        assert event.customer

    return handlers


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_handlers_continue_behind_any_message(broker: Broker, url: str) -> None:
    """With and without versions: a message without version and id is a message too, under any key."""
    kinds = [each for kind in {**EVERYWHERE, **OWN[broker.name]}.values() for each in kind]
    bare = [
        each._replace(headers=[(name, value) for name, value in each.headers if name != "ce_streamversion"])
        for each in kinds
        if not each.own
    ]

    told = swallow(url, broker.transport, broker.send, [*kinds, *bare], notes())

    assert told.applied > 0


@pytest.mark.parametrize("kind", EVERYWHERE)
@pytest.mark.parametrize("broker", ["local"], indirect=True)
def test_each_kind_alone(broker: Broker, url: str, kind: str) -> None:
    """It is applied, or reported by a dead letter; nothing passes in silence, and messages that differ are all told."""
    told = swallow(url, broker.transport, broker.send, EVERYWHERE[kind])

    assert told.applied + told.unhandled + len(told.letters) > 0
    assert told.told >= len(set(map(repr, EVERYWHERE[kind])))


@pytest.mark.parametrize("broker", ["local"], indirect=True)
def test_no_message_writes_into_the_log(broker: Broker, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """With any key, id, type, version or data: no control character, no long text."""
    evil = "\x1b[2J\x07\n2026-01-01 00:00:00 ERROR   relay: FORGED\x9b31m" + "x" * 5_000
    messages = [
        event(f"order-{evil}"),
        event("order-e1", ce_id=evil),
        event("order-e2", ce_type=evil),
        event("order-e3", ce_source=evil),
        event("order-e4", ce_time=evil),
        event("order-e5", f"1{evil}"),
        event("order-e6", ce_dataschemaversion=evil),
        event("order-e7", ce_metadata=evil),
        event("order-e8", value=evil.encode()),
        event("order-e9", value=b'{"customer": 7, "%s": 1}' % evil.encode()),
        Foreign(evil, b"", [(evil, evil)]),
    ]

    swallow(url, broker.transport, broker.send, messages)

    for record in caplog.records:
        sentence = record.getMessage()
        assert sentence.isprintable(), ascii(sentence)
        assert len(sentence) < 1_000
