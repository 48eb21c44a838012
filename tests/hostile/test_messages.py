"""No message stops a projector: each kind, on each broker where it can be sent."""

import pytest

from tests.hostile.conftest import Broker
from tests.hostile.foreign import BROKERS
from tests.hostile.kinds import EVERYWHERE, OWN
from tests.hostile.reading import swallow


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_the_event_behind_any_message_is_applied(broker: Broker, url: str) -> None:
    """What cannot be read, or applied, is a dead letter, in a batch with everything else; the others go on."""
    kinds = {**EVERYWHERE, **OWN[broker.name]}

    told = swallow(url, broker.transport, broker.send, [each for kind in kinds.values() for each in kind])

    sent = sum(map(len, kinds.values()))
    assert told.applied + told.unhandled + told.duplicates + len(told.letters) >= sent - 4  # letters kept once
    assert all(len(error) < 2_000 for _, _, error in told.letters)


@pytest.mark.parametrize("kind", EVERYWHERE)
@pytest.mark.parametrize("broker", ["local"], indirect=True)
def test_each_kind_alone(broker: Broker, url: str, kind: str) -> None:
    """It is applied, or told of by a dead letter; nothing passes in silence."""
    told = swallow(url, broker.transport, broker.send, EVERYWHERE[kind])

    assert told.applied + told.unhandled + len(told.letters) > 0
