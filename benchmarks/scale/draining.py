"""Parts that drain: backlogs of growing sizes, growing numbers of streams, and several relays that share them."""

from collections.abc import Sequence

from benchmarks.scale.curve import Curve
from benchmarks.scale.drain import AHEAD, Drained, drain
from benchmarks.scale.stage import Stage

_LARGE = 1_000_000  # events: a larger drain takes minutes, and is done once


def backlogs(stage: Stage, sizes: Sequence[int]) -> list[Curve]:
    """Drain each size from one database, the small ones in every round, also after the large."""
    rate = Curve("backlog_events_per_second", "relay, steady", across="events waiting", unit="events/s")
    memory = Curve("backlog_memory_mb", "relay, peak memory", across="events waiting", unit="MB")
    store, topic = stage.store(max(sizes) + AHEAD), stage.topic()
    small = [size for size in sizes if size <= _LARGE]
    large = [size for size in sizes if size > _LARGE]
    for number in range(stage.rounds):
        for size in [*small, *large] if number == stage.rounds // 2 else small:
            stage.say(f"draining {size:,} events, round {number + 1}")
            drained = drain(store, topic, size)
            _warn(stage, drained)
            rate.add(size, drained.rate)
            memory.add(size, drained.memory_mb)
    return [rate, memory]


def streams(stage: Stage, counts: Sequence[int], *, events: int) -> list[Curve]:
    """Drain as many events of few streams and of many, in turns."""
    rate = Curve("streams_events_per_second", "relay, steady", across="streams", unit="events/s")
    stores = {count: stage.store(events + AHEAD, streams=count) for count in counts}
    topic = stage.topic()
    for number in range(stage.rounds):
        stage.say(f"draining {events:,} events of {', '.join(f'{count:,}' for count in counts)} streams, {number + 1}")
        for count, store in stores.items():
            drained = drain(store, topic, events)
            _warn(stage, drained)
            rate.add(count, drained.rate)
    return [rate]


def relays(stage: Stage, counts: Sequence[int], *, events: int) -> list[Curve]:
    """Let several relays drain together, each its share of the shards, in turns."""
    rate = Curve("relays_events_per_second", "all relays together", across="relays", unit="events/s")
    store, topic = stage.store(events + AHEAD), stage.topic()
    for number in range(stage.rounds):
        stage.say(f"draining {events:,} events with {', '.join(map(str, counts))} relays, round {number + 1}")
        for count in counts:
            drained = drain(store, topic, events, relays=count)
            _warn(stage, drained)
            rate.add(count, drained.rate)
    return [rate]


def _warn(stage: Stage, drained: Drained) -> None:
    if drained.repeated:
        stage.say(f"{drained.repeated:,} events were sent a second time: the rate counts them")
