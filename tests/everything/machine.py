"""Anything in any order, by rules; with the invariants of every moment and of the end."""

import sys
import uuid
from itertools import product
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventkit.config import Settings
from eventkit.errors import RebuildRefused
from eventkit.projection.rebuild.progress import RebuildProgress
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.storage.dead_letters.query import LetterFilter, LetterQuery
from eventkit.storage.dead_letters.redrive import RedriveRequests
from eventkit.transports import open_transport
from eventkit.worker import Stop
from tests.everything.checks import Checks
from tests.everything.pipeline import Group, Sender
from tests.everything.read_models import CREATE, Done, Weather, read_models
from tests.everything.writers import Numbers, Writer, settle
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until

WRITERS = st.sampled_from(range(3))
GROUPS = st.sampled_from(range(2))
MEMBERS = st.sampled_from(range(2))
LIMITS = st.sampled_from([1, 2, 3, 5, 100])
STREAMS = st.sampled_from(["deed-a", "deed-b", "deed-c"])
BOARDS = st.lists(st.sampled_from("xy"), min_size=1, max_size=3)
TROUBLE = st.sampled_from(["", "", "", "handler", "broker"])


class Everything(RuleBasedStateMachine):
    """Writers, a relay and two projections over one store and one broker."""

    server: PostgresServer
    patience = 60.0  # seconds that everything may take to be through
    sender: Sender  # of the machine at work

    def __init__(self) -> None:
        super().__init__()
        self.url = self.server.fresh()
        self.admin: psycopg.Connection[Any] = psycopg.connect(self.url, autocommit=True)
        self.admin.execute(CREATE.encode())
        self.committed: Numbers = {}
        self.writers = [Writer(self.url, self.committed) for _ in range(3)]
        transport: Any = open_transport(f"local://{uuid.uuid4().hex}")
        type(self).sender = Sender(self.url, transport, self.admin)
        self.weather = Weather()
        self.groups = [Group(self.url, model, transport, self.weather) for model in read_models(self.weather)]
        self.checks = Checks(self.admin, self.committed, transport._broker)
        self.count = 0

    @initialize(parts=st.lists(st.tuples(WRITERS, STREAMS, BOARDS, TROUBLE), min_size=3, max_size=6))
    def begin(self, parts: list[tuple[int, str, list[str], str]]) -> None:
        """There is something to begin with."""
        self.flow(parts)

    @rule(parts=st.lists(st.tuples(WRITERS, STREAMS, BOARDS, TROUBLE), min_size=1, max_size=4))
    def flow(self, parts: list[tuple[int, str, list[str], str]]) -> None:
        """Some events go all the way."""
        for number, stream, boards, trouble in parts:
            self.append(number, stream, boards, "any", trouble, True)
        self.relay()
        for group, member in product(range(2), range(2)):
            self.project(group, member, 100)

    # Writers.

    @rule(
        number=WRITERS,
        stream=STREAMS,
        boards=BOARDS,
        kind=st.sampled_from(["any", "any", "right", "right", "none", "low", "high"]),
        trouble=TROUBLE,
        ends=st.booleans(),
    )
    def append(self, number: int, stream: str, boards: list[str], kind: str, trouble: str, ends: bool) -> None:  # noqa: FBT001 parameters of the rule
        """Append to a stream, with a right or a wrong expectation, in an open transaction, and perhaps commit it."""
        writer = self.writers[number]
        if writer.asked is None:
            events = [Done(stream, self.count + place, board, trouble) for place, board in enumerate(boards)]
            self.count += len(events)
            writer.append(events, kind)
            settle(self.writers, self.admin)
            if ends:
                self.end(number, "commit")

    @rule(number=WRITERS, how=st.sampled_from(["commit", "commit", "roll_back", "roll_back_to_the_savepoint"]))
    def end(self, number: int, how: str) -> None:
        """End a transaction, or roll back its last part; a writer that waited for it continues."""
        if self.writers[number].asked is None:
            getattr(self.writers[number], how)()
            settle(self.writers, self.admin)

    @rule(number=WRITERS, how=st.sampled_from(["savepoint", "savepoint", "release_the_savepoint"]))
    def nest(self, number: int, how: str) -> None:
        """Open a nested transaction, or keep it."""
        if self.writers[number].asked is None:
            getattr(self.writers[number], how)()

    @rule(number=WRITERS)
    def kill_a_writer(self, number: int) -> None:
        """A service dies within its transaction."""
        self.writers[number].die(self.admin)
        settle(self.writers, self.admin)

    # The relay and the broker.

    @rule()
    def relay(self) -> None:
        """Send the backlog."""
        self.sender.step()

    @rule(count=st.integers(1, 5), held=st.booleans())
    def relay_in_trouble(self, count: int, held: bool) -> None:  # noqa: FBT001 a parameter of the rule
        """Send while the broker is lost after some events, or refuses the topic."""
        self.sender.step(lost_after=count, held=held)

    @rule(fate=st.sampled_from(["killed", "deposed"]))
    def relay_dies(self, fate: str) -> None:
        """Send, and settle nothing."""
        self.sender.step_and(fate)

    @rule(shard=st.sampled_from(range(2)), start=st.integers(0, 10), count=st.integers(1, 10))
    def repeat(self, shard: int, start: int, count: int) -> None:
        """The broker has some old messages twice."""
        publisher = self.sender.transport.publisher()
        publisher.send(self.checks.shards[shard][start : start + count])

    # Projectors.

    @rule(group=GROUPS, member=MEMBERS, limit=LIMITS)
    def project(self, group: int, member: int, limit: int) -> None:
        """Apply a batch, as the projector's loop does."""
        working = self.groups[group].members[member]
        working.step(limit)
        working.projector.redrives.serve()

    @rule(
        group=GROUPS, member=MEMBERS, limit=LIMITS, fate=st.sampled_from(["received", "applying", "applied", "zombie"])
    )
    def projector_dies(self, group: int, member: int, limit: int, fate: str) -> None:
        """Be killed somewhere on the way, or be taken for dead."""
        self._send_one(member)
        if fate == "zombie":
            self.groups[group].sleep(member, limit)
        else:
            self.groups[group].step_and_die(member, limit, fate, self.admin)

    @rule(group=GROUPS)
    def zombies_wake(self, group: int) -> None:
        """Members that were taken for dead continue where they were."""
        self.groups[group].wake()

    @rule(group=GROUPS, count=st.integers(1, 10))
    def rewind(self, group: int, count: int) -> None:
        """Acknowledgements are lost."""
        self.groups[group].rewind(count)

    def _send_one(self, number: int) -> None:
        """See to it that there is something to apply, whichever shard a projector has."""
        for stream in ("deed-a", "deed-b", "deed-c"):
            self.append(number, stream, ["x"], "any", "", True)
        self.relay()

    # Operators.

    @rule(handlers=st.booleans(), broker=st.booleans())
    def change_the_weather(self, handlers: bool, broker: bool) -> None:  # noqa: FBT001 parameters of the rule
        """Marked events fail from now on, or do not."""
        self.weather.strict, self.sender.strict = handlers, broker

    @rule()
    def redrive(self) -> None:
        """An operator asks for all that is parked to be tried again."""
        choice = LetterQuery(self.admin, "eventkit").choose(LetterFilter())
        RedriveRequests(self.admin, "eventkit", actor="ann").redrive(choice)

    @rule(
        group=GROUPS,
        resume=st.booleans(),
        accept=st.sampled_from([False, False, True]),
        meanwhile=st.sampled_from(["swap", "swap", "swap", "index", ""]),
        dies=st.sampled_from(["", "", "", "", "feed", "catch up"]),
    )
    def rebuild(self, group: int, resume: bool, accept: bool, meanwhile: str, dies: str) -> None:  # noqa: FBT001 parameters of the rule
        """Rebuild while the relay and the live read model work, and perhaps die on the way."""
        projection, stop, told = self.groups[group].projection, Stop(), set()

        def report(progress: RebuildProgress) -> None:
            if progress.stage == meanwhile and meanwhile not in told:
                told.add(meanwhile)
                self._send_one(group)
                self.project(group, 0, 100)
                self.project(group, 1, 100)
            if progress.stage == dies:
                stop.set()

        plan = RebuildPlan(resume=resume, accept_parked=accept)
        try:
            RebuildRun(projection, Settings(database_url=self.url), plan, stop=stop, report=report).run()

        except RebuildRefused as error:
            assert (dies and "was ended before" in str(error)) or (not accept and "streams are parked" in str(error))  # noqa: PT017 which of them
        else:
            self.checks.may_lose(projection.name, accept=accept)

    # Invariants.

    @invariant()
    def all_is_well(self) -> None:
        """Store, broker and read models are as the model says."""
        self.checks.now()

    def teardown(self) -> None:
        """Let everything come to its end, unless something was wrong before."""
        try:
            if sys.exc_info()[0] is None:
                self._finish()
                self.checks.in_the_end()
        finally:
            self.close()

    def close(self) -> None:
        """Close everything."""
        parts: list[Group | Writer] = [*self.groups, *self.writers]
        for part in parts:
            part.close()
        self.admin.close()
        self.server.drop(self.url)

    def _finish(self) -> None:
        for writer in self.writers:
            if writer.asked is None:
                writer.roll_back()
        settle(self.writers, self.admin)
        self.weather.strict = self.sender.strict = False
        for group in self.groups:
            group.wake()
        wait_until(self._is_through, timeout=self.patience, what="everything to be through")

    def _is_through(self) -> bool:
        for writer in self.writers:
            if writer.asked is None:
                writer.roll_back()
        settle(self.writers, self.admin)
        self.redrive()
        self.relay()
        moved = 0
        for group in self.groups:
            for member in group.members:
                moved += member.step() + member.projector.redrives.serve()
        return not moved and self.sender.is_idle()
