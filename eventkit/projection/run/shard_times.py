"""The recorded time of the last applied event in each shard, and whether the shard was read to its end.

Only the last message of each shard is kept: a batch that lives until the next one has come doubles the live objects,
and the garbage collector then looks through all of them. The header is read once a second, and when nothing more comes.
Another thread reads the times for the heartbeat.
"""

import time
from collections.abc import Collection, Sequence
from datetime import datetime

from eventkit.domain.header_values import time_of
from eventkit.domain.message import Message
from eventkit.projection.batch import header
from eventkit.transports.base import shard_of

_INTERVAL = 1.0  # seconds between two notes while messages keep coming
_MOST = 256  # shards that are reported: those that are behind, then the oldest
_TIME_INDEX = 4  # of the header ce_time in eventkit's messages


class ShardTimes:
    """The shards that one projection reads in this process."""

    def __init__(self) -> None:
        self._shards: dict[str, tuple[str, bool]] = {}  # replaced as a whole, never changed
        self._noted_at = -_INTERVAL
        self._last: dict[str, Message] = {}  # by shard, since the last note
        self._is_idle = False

    def applied(self, messages: Sequence[Message], *, from_store: bool) -> None:
        """Take an applied batch; an empty one means that all shards were read to their end."""
        if messages:
            self._is_idle = False
            self._last |= {"store": messages[-1]} if from_store else _last_of_shards(messages)
            if time.monotonic() - self._noted_at >= _INTERVAL:
                self._note()
        elif not self._is_idle:
            self._note()
            self._shards = {shard: (at, True) for shard, (at, _) in self._shards.items()}
            self._is_idle = True

    def reported(self) -> dict[str, tuple[str, bool]]:
        """Return time and state of each shard, 256 at most."""
        shards = self._shards
        if len(shards) <= _MOST:
            return shards
        behind_first = sorted(shards.items(), key=lambda item: (item[1][1], item[1][0]))
        return dict(behind_first[:_MOST])

    def lag_seconds(self) -> float | None:
        """Return the age of the oldest last event of a shard that is behind; 0 if none is, None before any event."""
        times = [
            datetime.fromisoformat(at).timestamp() for at, is_caught_up in self._shards.values() if not is_caught_up
        ]
        if not self._shards:
            return None
        return max(0.0, time.time() - min(times)) if times else 0.0

    def _note(self) -> None:
        times = {shard: at for shard, message in self._last.items() if (at := _recorded_at(message)) is not None}
        # Nothing came for the other shards, while there was something for these.
        others = {shard: (at, True) for shard, (at, _) in self._shards.items()}
        self._shards = {**others, **{shard: (at, False) for shard, at in times.items()}}
        self._noted_at, self._last = time.monotonic(), {}


def _last_of_shards(messages: Sequence[Message]) -> dict[str, Message]:
    if type(messages[0].tag) is tuple:  # Kafka's: its first item stands for the shard
        last: Collection[Message] = {each.tag[0]: each for each in messages}.values()
    else:
        last = {(each.topic, shard_of(each)): each for each in messages}.values()
    return {f"{each.topic}/{shard_of(each)}": each for each in last}


def _recorded_at(message: Message) -> str | None:
    """Return the time of a message in UTC, None where it has no readable one."""
    text = header(message, "ce_time", _TIME_INDEX)
    try:
        return time_of(text.decode() if isinstance(text, bytes) else text or "").isoformat()
    except ValueError:
        return None
