"""The short form of `python -m tests.faults brokers`, which strikes at random for two minutes on each broker.

Here few faults are injected, each at a critical point. A relay, a projector and the broker are killed with -9 while
others write; then the other relay and projector, which had taken over, are hung.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import lend
from tests.faults.campaign import BROKERS, Campaign, run
from tests.faults.storm import HUNG, KILLED, Fault
from tests.servers.activemq import ActiveServer
from tests.servers.kafka import KafkaServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

SECONDS = 2.5
PLANS = [
    [Fault(0.4, "relay0"), Fault(0.8, "relay1", HUNG, 0.6)],
    [Fault(0.2, "projector0"), Fault(0.8, "projector1", HUNG, 0.6)],
    [Fault(0.8, "broker", KILLED, 0.1)],
]
STARTS: dict[str, Callable[[], Any]] = {
    "kafka": lambda: KafkaServer(heap="512m", properties={"group.min.session.timeout.ms": "1000"}).start(),
    "rabbitmq": lambda: RabbitServer().start(),
    "redis": lambda: RedisServer().start(),
    "activemq": lambda: ActiveServer().start(),
}
# With which a dead member is soon replaced; the others see its connection end.
OPTIONS = {
    "kafka": {"session_timeout_ms": "2000", "heartbeat_interval_ms": "500"},
    "redis": {"session_timeout": "1.5"},
}


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """A broker of this test's own, to be killed."""
    name = request.param
    for server in lend(f"{name}, to be killed", STARTS[name]):
        yield name, server


def test_with_relay_projector_and_broker_killed_each_event_takes_effect_once_and_in_order(
    database_url: str, broker: tuple[str, Any], tmp_path: Path
) -> None:
    """Nothing lost, invented or reordered per stream in the read model, nothing done twice, no hole for the store."""
    name, server = broker
    campaign = Campaign(SECONDS, plans=PLANS, options=OPTIONS.get(name))

    outcome = run(database_url, server, tmp_path, campaign)
    print(outcome.described())  # noqa: T201 the figures, with -s

    assert outcome.clean, outcome
    assert outcome.seen.written > 100
    struck = {"relay killed": 1, "relay hung": 1, "projector killed": 1, "projector hung": 1, "broker killed": 1}
    assert struck.items() <= outcome.counts.items()
