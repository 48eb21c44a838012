"""Invariants: the store holds the committed events, and each copy behind it a prefix of each stream."""

from typing import Any

import psycopg

from eventkit.transports.local.broker import Broker
from tests.everything.read_models import TOPIC
from tests.everything.writers import Numbers

_EVENTS = "select stream, array_agg((data->>'number')::int order by version) from eventkit.events group by stream"
_UNSENT = "select (data->>'number')::int from eventkit.outbox join eventkit.events using (position)"

# A rebuild that died may leave letters and checkpoints of its own, for the next to resume or to remove.
_LETTERS = """select parked_by, stream, version, cause from eventkit.dead_letters
 where split_part(parked_by, ':', 3) not in (select generation::text from eventkit.rebuilds)"""
_PARKED_LIVE = """select c.stream from eventkit.checkpoints c join eventkit.projections p using (generation)
 where parked and name = '{}'"""
_PARKED = """select generation, stream from eventkit.checkpoints
 where parked and generation not in (select generation from eventkit.rebuilds)"""


class Checks:
    """Compares all copies with the events that the writers have committed."""

    def __init__(self, admin: psycopg.Connection[Any], committed: Numbers, broker: Broker) -> None:
        self.shards = broker.topics[TOPIC]
        self._groups = broker.groups
        self._admin, self._committed = admin, committed
        self._reached: dict[str, dict[str, int]] = {"tails": {}, "boards": {}}

    def may_lose(self, projection: str, *, accept: bool) -> None:
        """Note that a rebuild was swapped in: only where an operator has accepted it, streams may be shorter now."""
        if accept:
            self._reached[projection] = {}

    def now(self) -> None:
        """Check all that is so at every moment."""
        assert dict(self._rows(_EVENTS)) == {stream: numbers for stream, numbers in self._committed.items() if numbers}
        self._check_broker()
        self._check("tails", self._tails())
        self._check("boards", self._boards())
        for projection in self._reached:
            self._check_acknowledged(projection)

    def in_the_end(self) -> None:
        """Check that nothing is left to do, and that everything is the fold of everything."""
        self.now()
        assert self._rows("select 1 from eventkit.outbox") == []
        assert self._rows(_LETTERS) == []
        assert self._rows(_PARKED) == []
        wanted = {stream: len(numbers) for stream, numbers in self._committed.items() if numbers}
        assert self._reached == {"tails": wanted, "boards": wanted}

    def _check(self, projection: str, seen: Numbers) -> None:
        before = self._reached[projection]
        for stream, numbers in seen.items():
            assert numbers == self._committed[stream][: len(numbers)], f"{projection}: no prefix of {stream}"
        now = {stream: len(numbers) for stream, numbers in seen.items()}
        assert all(now.get(stream, 0) >= count for stream, count in before.items()), f"{projection} went back"
        self._reached[projection] = now

    def _check_acknowledged(self, projection: str) -> None:
        """A message that the broker will not deliver again is in the read model, or its stream is parked."""
        parked = {stream for (stream,) in self._rows(_PARKED_LIVE.format(projection))}
        for (_, shard), offset in self._groups[projection].resume.items():
            for message in self.shards[shard][:offset]:
                stream, version = message.key, int(dict(message.headers)["ce_streamversion"])
                there = self._reached[projection].get(stream, 0)
                assert version <= there or stream in parked, (
                    f"{projection}: {stream} {version} is acknowledged and lost"
                )

    def _tails(self) -> Numbers:
        return {stream: [int(number) for number in seen.split()] for stream, seen in self._rows("select * from tails")}

    def _boards(self) -> Numbers:
        """Return each stream's part of the rows, which many streams feed; within a row in the order that it has."""
        streams = {number: stream for stream, numbers in self._committed.items() for number in numbers}
        parts: Numbers = {}
        for (row,) in self._rows("select seen from boards"):
            ours: Numbers = {}
            for number in map(int, row.split()):
                ours.setdefault(streams[number], []).append(number)
            for stream, numbers in ours.items():
                places = [self._committed[stream].index(number) for number in numbers]
                assert places == sorted(places), f"boards: {stream} is out of order"
                parts.setdefault(stream, []).extend(numbers)
        return {stream: sorted(numbers, key=self._committed[stream].index) for stream, numbers in parts.items()}

    def _check_broker(self) -> None:
        """First deliveries come in order, and an event that has not arrived is in the outbox."""
        sent: Numbers = {stream: [] for stream in self._committed}
        for message in dict.fromkeys((m.key, int(dict(m.headers)["ce_streamversion"])) for s in self.shards for m in s):
            sent[message[0]].append(message[1])
        unsent = {number for (number,) in self._rows(_UNSENT)}
        for stream, versions in sent.items():
            assert versions == list(range(1, len(versions) + 1)), f"the broker has {stream} out of order"
            assert set(self._committed[stream][len(versions) :]) <= unsent, f"lost of {stream}"

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self._admin.execute(statement.encode()).fetchall()
