"""Evolve methods that take the envelope: the state after saving, loading and from a snapshot is the same."""

from dataclasses import dataclass, field
from datetime import datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from eventkit import Aggregate, Catalog, Decider, Envelope, EventStore, Repository, UnexpectedEvent, evolve
from eventkit.aggregates.snapshots import Snapshots
from eventkit.errors import AggregateError
from eventkit.testing import given
from eventkit.testing.decisions import BEGINNING

club = Catalog("club")
store = EventStore(club)


@club.event
@dataclass(frozen=True)
class Joined:
    """Somebody joined."""

    name: str


@club.event
@dataclass(frozen=True)
class Visited:
    """Somebody came: when, the envelope says."""


@dataclass
class Member(Aggregate):
    """Knows the last visit by its envelope."""

    name: str = ""
    seen_at: datetime | None = None
    seen: list[tuple[int, str, int | None, str]] = field(default_factory=list)

    @evolve
    def _joined(self, event: Joined) -> None:
        self.name = event.name

    @evolve
    def _visited(self, event: Visited, envelope: Envelope[Visited]) -> None:
        assert envelope.event == event
        self.seen_at = envelope.recorded_at
        by = envelope.metadata.extra.get("by", "")
        self.seen.append((envelope.version, str(envelope.id), envelope.position, by))


members = Repository(store, Member, category="member")
kept = Repository(store, Member, category="member", snapshots=Snapshots(every=2))


@pytest.mark.parametrize("repository", [members, kept])
def test_the_state_is_the_same_after_saving_and_after_loading(session: Session, repository: Repository[Member]) -> None:
    """Time, id, position and metadata are those that are stored."""
    member = repository.new("ada")
    for number in range(3):
        member.record(Joined(f"ada {number}"), Visited())
        repository.save(session, member, metadata={"by": f"door {number}"})

    loaded = repository.load(session, "ada")

    assert loaded == member
    assert [(version, by) for version, _, _, by in loaded.seen] == [(2, "door 0"), (4, "door 1"), (6, "door 2")]
    stored = list(store.read_stream(session, "member-ada"))
    assert loaded.seen_at == stored[-1].recorded_at
    assert [(str(one.id), one.position) for one in stored[1::2]] == [one[1:3] for one in loaded.seen]
    assert loaded.version == member.version == 6


async def test_asynchronous_repositories_do_likewise(async_engine: AsyncEngine) -> None:
    """`save_async`."""
    async with async_engine.begin() as connection:
        member = members.new("ada")
        member.record(Visited())
        await members.save_async(connection, member)
        assert member == await members.load_async(connection, "ada")
        assert member.seen_at is not None


def test_aggregates_that_are_saved_together_do_likewise(session: Session) -> None:
    """`save_many`."""
    both = [members.new("ada"), members.new("bob")]
    for member in both:
        member.record(Visited())
    members.save_many(session, *both)

    assert both == [members.load(session, "ada"), members.load(session, "bob")]


@pytest.mark.parametrize("event", [Joined("bob"), Visited()], ids=["without an envelope", "with one"])
def test_nothing_is_recorded_on_a_state_that_is_not_known_yet(session: Session, event: object) -> None:
    """The event that waits for its envelope is saved first; later events of the same call wait with it."""
    member = members.new("ada")
    member.record(Visited(), Joined("ada"))
    assert (member.seen, member.name) == ([], "")

    with pytest.raises(AggregateError, match="save the aggregate first"):
        member.record(event)
    members.save(session, member)
    member.record(event)
    members.save(session, member)

    assert member == members.load(session, "ada")
    assert len(member.recorded) == 0


def test_an_unevolved_event_is_refused_at_once_behind_one_that_waits() -> None:
    """It would be refused each time the aggregate is loaded."""
    member = members.new("ada")
    with pytest.raises(UnexpectedEvent):
        member.record(Visited(), "nothing that is known")


def test_a_scenario_numbers_its_envelopes() -> None:
    """Given and recorded events alike; the state is that after saving."""
    story = given(Member, Joined("ada"), Visited()).when(Member.record, Visited()).then(Visited())

    assert [version for version, *_ in story.state.seen] == [2, 3]
    assert (story.state.seen_at - BEGINNING).total_seconds() == 3


def test_a_decider_that_asks_for_an_envelope_is_refused() -> None:
    """It evolves before anything is stored."""

    def change(state: int, event: Visited, envelope: Envelope[Visited]) -> int:  # noqa: ARG001 the refused signature
        return state

    with pytest.raises(AggregateError, match="envelope"):
        Decider(int, lambda command, _: [command], change)  # type: ignore[arg-type]
