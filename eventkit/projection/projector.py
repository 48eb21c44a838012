"""Runs a projection: receive a batch, apply it in one transaction, take a second look at what did not advance, acknowledge.

    source --receive--> runs of streams --apply--> read model + checkpoints --acknowledge--> source
                             |  did not advance, or failed (found by halves)
                             +--> second look: dropped, repaired, applied, or parked with its stream

A message is acknowledged when its effect, its dead letter or the fact that it is a duplicate is committed: whatever dies before is delivered
again, and its checkpoint says what has been done. Called by the `eventkit projector` command; one projector is used by one thread.
"""

import logging
import time
from collections.abc import Sequence
from uuid import NAMESPACE_OID, UUID, uuid5

from eventkit.domain.message import Message
from eventkit.projection.applying import Applying
from eventkit.projection.arrival import Run, gather
from eventkit.projection.counters import Counters
from eventkit.projection.culprit import Culprits
from eventkit.projection.projection import Projection
from eventkit.projection.second_look import SecondLook
from eventkit.projection.sources import Source
from eventkit.projection.workspace import Workspace
from eventkit.storage.dead_letters import Letter
from eventkit.storage.history import History
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.projection")

REPORT = 10.0  # seconds between log lines
HELD = 30.0  # seconds between looks at streams that wait for missing events


class Projector:
    """One projection, fed by one source."""

    def __init__(
        self,
        projection: Projection,
        workspace: Workspace,
        source: Source,
        *,
        history: History,
        schema: str = "eventkit",
    ) -> None:
        """Put the parts together; workspace and history belong to this projector alone."""
        self.projection = projection
        self.counters = Counters()
        self.stop = Stop()
        self._source = source
        self._applying = Applying(projection, workspace, schema=schema, saves_position=source.position is not None)
        self._second = SecondLook(self._applying, history, schema=schema)
        self._culprits = Culprits(self._applying, self._second, self.stop)

    def start(self) -> None:
        """Register the projection, check its version and its table, and try the streams that wait for missing events."""
        self._culprits.again(self._applying.register)
        self.look_at_held()

    def run(self, *, until_idle: float | None = None) -> None:
        """Work until `stop` is set, or until nothing came for `until_idle` seconds."""
        self.start()
        reported = looked = busy = time.monotonic()
        while not self.stop.is_set():
            worked = self.step()
            now = time.monotonic()
            busy = now if worked else busy
            if worked and now - reported > REPORT:
                reported = now
                self.report()
            if now - looked > HELD:
                looked = now
                self.look_at_held()
            if until_idle is not None and now - busy > until_idle:
                return

    def step(self) -> int:
        """Apply the next batch; return how many messages it had."""
        messages = self._source.receive()
        if messages:
            self.apply(messages)
            # crash point: committed, not acknowledged -> delivered again, skipped as duplicates
            self._source.acknowledge(messages)
        return len(messages)

    def apply(self, messages: Sequence[Message]) -> None:
        """Give each message its effect, a place among the dead letters, or nothing if it had it before; committed on return."""
        position = self._source.position
        batch = gather(messages, from_store=position is not None)
        self.counters.duplicates += batch.duplicates
        odd = [run for run in batch.runs if not run.whole]
        simple = not odd and not batch.malformed
        left = self._culprits.apply(
            [run for run in batch.runs if run.whole], self.counters, position=position if simple else None
        )
        self._keep_malformed(batch.malformed)
        for run in [*odd, *left]:
            self._culprits.look(run, self.counters)
        if position is not None and position > self._applying.saved:
            self._culprits.again(lambda: self._applying.save(position))

    def report(self) -> None:
        """Write the counters into the log."""
        logger.info("projector %s: %s", self.projection.name, self.counters)

    def look_at_held(self) -> None:
        """Look again at the streams that wait for missing events: the store may have them now."""
        for stream in self._culprits.again(self._second.held):
            self._culprits.look(Run(stream, []), self.counters)

    def redrive(self, stream: str) -> bool:
        """Apply a parked stream's letters in order; return whether it goes on. What fails again stays, with the new reason."""
        self._culprits.look(Run(stream, []), self.counters, redrive=True)
        return stream not in self._culprits.again(self._second.parked)

    def _keep_malformed(self, malformed: Sequence[tuple[Message, str]]) -> None:
        by_key: dict[str, list[Letter]] = {}
        for message, reason in malformed:
            by_key.setdefault(message.key or "", []).append(
                Letter(0, _digest(message), "", "malformed", reason, 1, message)
            )
        for key, letters in by_key.items():
            self._culprits.again(
                lambda key=key, letters=letters: self._second.keep_malformed(key, letters, self.counters)
            )  # type: ignore[misc]


def _digest(message: Message) -> UUID:
    """Return an id for a message that has none: the same for the same content."""
    return uuid5(NAMESPACE_OID, repr((message.topic, message.key, message.value, message.headers)))
