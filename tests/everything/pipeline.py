"""The way from the outbox to the read models, in one process and step by step: a relay and the members of two groups.

A member that is killed here loses its memory and its connections, and reports nothing to the others.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from eventkit.domain.message import Message
from eventkit.errors import DatabaseUnavailable, Deposed, TransportUnavailable
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.define.projection import Projection
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.sources import TransportSource
from eventkit.relay import Relay
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import OwnHistory
from eventkit.storage.outbox.outbox import READING
from eventkit.storage.outbox.settlement import Settlement
from eventkit.transports.local import LocalTransport
from eventkit.worker import Stop
from tests.everything.read_models import TOPIC, Weather

_PENDING = """select from eventkit.outbox o join eventkit.events e using (position)
 where not exists (select from eventkit.dead_letters d
                    where d.parked_by = 'relay' and d.stream = e.stream and d.position <= o.position) limit 1"""


class Killed(Exception):
    """The process ends here."""


class Until(Stop):
    """Asks for an end when something is so, or after a while."""

    def __init__(self, condition: Callable[[], bool], seconds: float) -> None:
        super().__init__()
        self._condition, self._end = condition, time.monotonic() + seconds

    def is_set(self) -> bool:
        """Return whether it is so."""
        return super().is_set() or time.monotonic() > self._end or self._condition()


class Sender:
    """A relay over a broker that may refuse, hold or lose; `before_settling` is called with the acknowledged events."""

    def __init__(self, url: str, transport: LocalTransport, admin: psycopg.Connection[Any]) -> None:
        self.transport = transport
        self.strict = True
        self.before_settling: Callable[[], None] = lambda: None
        self._lost_after = 0
        self._url, self._admin = url, admin
        self._relay = self._new()
        transport.create_topics([TOPIC], partitions=2)

    def step(self, *, lost_after: int = 0, held: bool = False, seconds: float = 5) -> None:
        """Send the backlog, or as much as possible before the broker is lost."""
        self._lost_after = lost_after
        self.transport.refuse(self._refusal)
        if held:
            self.transport.hold(TOPIC, "forbidden")
        try:
            self._relay.run(Until(self.is_idle, 0.1 if held else seconds))
        except (TransportUnavailable, Deposed):
            pass
        except Killed:
            self._relay = self._new()
        self.transport.heal()

    def step_and(self, fate: str) -> None:
        """Send, and be killed or deposed before anything is settled."""

        def meet() -> None:
            self.before_settling = lambda: None
            if fate == "killed":
                raise Killed
            self._admin.execute("update eventkit.leases set epoch = epoch + 1")

        self.before_settling = meet
        self.step()
        self.before_settling = lambda: None

    def is_idle(self) -> bool:
        """Return whether nothing is left to send but parked events."""
        return not self._admin.execute(_PENDING.encode()).fetchall()

    def _new(self) -> Relay:
        def opened(name: str) -> psycopg.Connection[Any]:
            return connect(self._url, name=name, autocommit=True, options=READING)

        return Relay(opened, self.transport, schema="eventkit", owner="test")

    def _refusal(self, message: Message) -> str | None:
        if self._lost_after:
            self._lost_after -= 1
            if not self._lost_after:
                self.transport.lose("the broker is gone")
        value = message.value.encode() if isinstance(message.value, str) else message.value
        return "too much for me" if self.strict and b'"broker"' in value else None


def hooked(sender: Callable[[], Sender]) -> Callable[[Settlement, Sequence[int]], None]:
    """Return a `Settlement.settle` that asks the sender first."""
    settle = Settlement.settle

    def hook(self: Settlement, positions: Sequence[int]) -> None:
        if positions:
            sender().before_settling()
        settle(self, positions)

    return hook


class Member:
    """A projector in its group."""

    def __init__(self, url: str, projection: Projection, transport: LocalTransport) -> None:
        self.connection = connect(url, name="projector", autocommit=False)
        self.workspace = projection.workspace(self.connection)
        applying = BatchApplier(projection, self.workspace, schema="eventkit")
        self.projector = Projector(applying, history=OwnHistory(self.connection, "eventkit"))
        self.projector.start()
        self.subscription = transport.subscribe([TOPIC], projection.name)
        self.held: list[Message] = []  # received, and not applied before others got it as well

    def step(self, limit: int = 4_000) -> int:
        """Apply a batch."""
        return self.projector.step(TransportSource(self.subscription, limit=limit))

    def receive(self, limit: int) -> None:
        """Receive, and be slow."""
        self.held = TransportSource(self.subscription, limit=limit).receive()

    def wake(self) -> None:
        """Apply the received messages, even if another member has applied them meanwhile."""
        self.projector.apply(self.held)

    def close(self) -> None:
        """Close everything, acknowledging nothing."""
        self.subscription.close()
        self.workspace.close()


class Group:
    """A projection's members, two at work and those that were taken for dead."""

    def __init__(self, url: str, projection: Projection, transport: LocalTransport, weather: Weather) -> None:
        self.projection = projection
        self._open: Callable[[], Member] = lambda: Member(url, projection, transport)
        self._broker, self._weather = transport._broker, weather
        self.members = [self._open(), self._open()]
        self.zombies: list[Member] = []

    def replace(self, number: int) -> Member:
        """Put another in a member's place; return the old one."""
        old = self.members[number]
        old.subscription.close()
        self.members[number] = self._open()
        return old

    def step_and_die(self, number: int, limit: int, fate: str, admin: psycopg.Connection[Any]) -> None:
        """Be killed with a batch that is received, while it is applied, or when it is applied and not acknowledged."""
        member = self.members[number]
        if fate == "applying":
            self._weather.fuse, self._weather.shot = 1 + (limit == 3), lambda: _end(member.connection, admin)
            with suppress(DatabaseUnavailable):
                member.step(limit)
            self._weather.fuse = 0
        else:
            member.receive(limit)
            if fate == "applied":
                member.wake()
        self.replace(number).close()

    def sleep(self, number: int, limit: int) -> None:
        """Let a member receive a batch and be taken for dead."""
        self.members[number].receive(limit)
        self.zombies.append(self.replace(number))

    def wake(self) -> None:
        """Let those that were taken for dead apply their messages, too late."""
        while self.zombies:
            zombie = self.zombies.pop()
            zombie.wake()
            zombie.close()

    def rewind(self, count: int) -> None:
        """Let the group read acknowledged messages again."""
        for member in self.members:
            member.close()
        resume = self._broker.groups[self.projection.name].resume
        resume.update({shard: max(offset - count, 0) for shard, offset in resume.items()})
        self.members = [self._open(), self._open()]

    def close(self) -> None:
        """Close the connections."""
        for member in [*self.members, *self.zombies]:
            member.close()


def _end(connection: psycopg.Connection[Any], admin: psycopg.Connection[Any]) -> None:
    admin.execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
