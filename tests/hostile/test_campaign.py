"""The short form of the campaign: some messages that hypothesis makes up, on each broker."""

import pytest

from tests.hostile.campaign import pages, run
from tests.hostile.conftest import Broker
from tests.hostile.foreign import BROKERS


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_the_event_behind_made_up_messages_is_applied(broker: Broker, url: str) -> None:
    """With any content; `python -m tests.hostile` sends ten thousand to each broker."""
    told = list(run(url, broker.transport, broker.send, pages(broker.name, number=100, start=7)))

    assert sum(each.applied for each in told) + len(told[-1].letters) > 0
