"""Several projector processes of one group, which share a topic's partitions."""

from collections.abc import Sequence
from uuid import uuid4

from benchmarks.consuming import Consuming
from benchmarks.orders import Orders
from benchmarks.scale.curve import Curve
from benchmarks.scale.stage import Stage


def projectors(stage: Stage, counts: Sequence[int], *, events: int) -> list[Curve]:
    """Project as many orders with one process and with several, in turns; sharing them out is in the time."""
    rate = Curve("projectors_events_per_second", "all projectors together", across="projectors", unit="events/s")
    consuming = Consuming(stage.database(), stage.kafka)
    orders = Orders.of(f"order_{uuid4().hex[:8]}", events, 1_000)
    consuming.publish(orders)
    for number in range(stage.rounds):
        stage.say(f"projecting {events:,} events with {', '.join(map(str, counts))} processes, round {number + 1}")
        for count in counts:
            rate.add(count, consuming.project("table", orders, processes=count).rate)
    consuming.close()
    return [rate]
