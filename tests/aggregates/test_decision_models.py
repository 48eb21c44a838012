"""Decision models: state folded from the events of several tags, the same with snapshots and without."""

import random
from dataclasses import dataclass, field
from typing import Annotated, Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session, sessionmaker

from eventkit import (
    Catalog,
    DecisionChanged,
    DecisionModel,
    Decisions,
    Envelope,
    EventStore,
    Personal,
    QueryItem,
    Snapshots,
    UnexpectedEvent,
    evolve,
)
from eventkit.aggregates import decision_model
from eventkit.errors import AggregateError
from eventkit.storage.events import decision
from tests.storage.tags.courses import CourseDefined, Subscribed, Unsubscribed, enrol, school, store

PLACE = school.stream("subscription", 1)


@dataclass
class Seats(DecisionModel):
    """Who takes a course, and which courses a student takes, in the order in which they were taken."""

    course: str
    student: str
    seats: int = 0
    taken: list[tuple[str, str]] = field(default_factory=list)

    def query(self) -> list[QueryItem]:
        """Ask for both."""
        return [QueryItem([f"course:{self.course}"]), QueryItem([f"student:{self.student}"], types=[Subscribed])]

    @evolve
    def _defined(self, event: CourseDefined) -> None:
        self.seats += event.seats

    @evolve
    def _subscribed(self, event: Subscribed) -> None:
        self.taken.append((event.course, event.student))

    @evolve
    def _unsubscribed(self, event: Unsubscribed) -> None:
        self.taken.remove((event.course, event.student))


plain = Decisions(store, Seats)
kept = Decisions(store, Seats, snapshots=Snapshots(every=5))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each query has read."""
    found: list[int] = []
    right = decision.query_steps

    def counted(*args: Any) -> Any:
        result = yield from right(*args)
        found.append(len(result.events))
        return result

    monkeypatch.setattr(decision_model, "query_steps", counted)
    return found


def keep(session: Any, *args: str) -> None:
    """Append by a decision, so that its snapshot is kept where it is due."""
    model = kept.load(session, *args)
    kept.append(session, model, PLACE, CourseDefined("another"))


@pytest.mark.parametrize("decisions", [plain, kept])
def test_a_model_is_folded_and_an_append_by_it_is_refused_where_something_has_come(
    sessions: sessionmaker[Session], decisions: Decisions[Seats]
) -> None:
    """An item without types asks for those that the model evolves; the model is as it was loaded."""
    with sessions.begin() as session:
        store.append(session, school.stream("course", "c1"), CourseDefined("c1", 3))
        enrol(session, ("c1", "s1"), ("c2", "s9"), ("c3", "s3"))
    with sessions() as session, sessions() as other:
        model = decisions.load(session, "c1", "s9")
        decisions.append(other, decisions.load(other, "c1", "s9"), PLACE, Subscribed("c1", "s2"))
        other.commit()
        with pytest.raises(DecisionChanged):
            decisions.append(session, model, PLACE, Subscribed("c1", "s9"))

    assert model == Seats("c1", "s9", 3, [("c1", "s1"), ("c2", "s9")])


def test_a_decision_over_many_events_reads_those_that_came_since_its_snapshot(
    session: Session, reads: list[int]
) -> None:
    """Ten thousand events are read once."""
    for part in range(10):
        enrol(session, *((f"c{part}", f"s{number}") for number in range(1_000)), ("c", "s"))
    decisions = Decisions(store, Seats, snapshots=Snapshots(every=1_000))
    for part in range(9):
        enrol(session, *(("c", f"s{number}-{part}") for number in range(1_000)))
    model = decisions.load(session, "c", "s")
    decisions.append(session, model, PLACE, Subscribed("c", "last"))
    again = decisions.load(session, "c", "s")

    assert reads == [9_010, 1]
    assert again == plain.load(session, "c", "s")


def test_a_snapshot_that_lacks_an_event_is_not_kept(sessions: sessionmaker[Session], reads: list[int]) -> None:
    """An append that was open at the load, at a lower position than the last read event: the next one refuses both."""
    with sessions() as slow, sessions() as session:
        enrol(slow, ("other", "s"), place="slow")
        enrol(session, *(("c", f"s{number}") for number in range(6)), place="quick")
        session.commit()
        model = kept.load(session, "c", "s")
        slow.commit()
        with pytest.raises(DecisionChanged):
            kept.append(session, model, PLACE, CourseDefined("another"))
        keep(session, "c", "s")
        session.commit()
        again = kept.load(session, "c", "s")

    assert again.taken[0] == ("other", "s")
    assert reads == [6, 7, 0]


def test_a_rollback_to_a_savepoint_takes_its_snapshot_back(session: Session) -> None:
    """Neither the events nor a state that has them are seen again."""
    with session.begin_nested() as nested:
        enrol(session, *(("c", f"s{number}") for number in range(9)))
        keep(session, "c", "s")
        nested.rollback()

    assert kept.load(session, "c", "s").taken == []


def test_a_snapshot_made_by_other_code_is_not_used(session: Session, reads: list[int]) -> None:
    """By another version of the model's code, or another version that it declares."""

    def made(factor: int, version: int) -> Decisions[Any]:
        @dataclass
        class Counted(DecisionModel):
            count: int = 0

            def query(self) -> list[QueryItem]:
                return [QueryItem(["course:c"])]

            @evolve
            def _subscribed(self, event: Subscribed) -> None:  # noqa: ARG002 counted
                self.count += factor

        return Decisions(store, Counted, snapshots=Snapshots(every=1, version=version))

    enrol(session, *(("c", f"s{number}") for number in range(9)))
    first = made(1, 1)
    first.append(session, first.load(session), PLACE, CourseDefined("another"))
    assert made(1, 1).load(session).count == 9
    assert made(2, 1).load(session).count == 18
    assert made(1, 2).load(session).count == 9
    assert reads == [9, 0, 9, 9]


def test_with_snapshots_and_without_a_model_is_the_same(database_url: str) -> None:
    """Events are appended, rolled back to a savepoint and committed, by two connections in turn."""
    chance = random.Random(1)
    always = Decisions(store, Seats, snapshots=Snapshots(every=1))
    with psycopg.connect(database_url) as one, psycopg.connect(database_url) as two:
        for number in range(300):
            connection, course, student = chance.choice((one, two)), f"c{number % 2}", f"s{chance.randrange(2)}"
            model = always.load(connection, course, student)
            assert model == plain.load(connection, course, student)
            with connection.transaction(force_rollback=chance.random() < 0.3):
                event = CourseDefined(course) if chance.random() < 0.2 else Subscribed(course, student)
                always.append(connection, model, school.stream("subscription", number), event)
                again = always.load(connection, course, student)
                assert again == plain.load(connection, course, student)
                always.append(connection, again, school.stream("subscription", f"{number}b"), CourseDefined("x"))
            if chance.random() < 0.9:
                connection.commit()
            else:
                connection.rollback()
            one.commit()
            two.commit()


async def test_models_are_loaded_and_appended_by_asynchronously(async_engine: AsyncEngine) -> None:
    """`load_async` and `append_async`, with snapshots."""
    async with async_engine.begin() as connection:
        for number in range(12):
            model = await kept.load_async(connection, "c", "s")
            assert len(model.taken) == number
            await kept.append_async(connection, model, PLACE, Subscribed("c", f"s{number}"))


@dataclass
class Seen(DecisionModel):
    """Knows when a course was last taken, by the envelope; another type is ignored."""

    course: str
    versions: list[int] = field(default_factory=list)
    ignored = (CourseDefined,)

    def query(self) -> list[QueryItem]:
        """Ask for all types that are named."""
        return [QueryItem([f"course:{self.course}"], types=[Subscribed, Unsubscribed, CourseDefined])]

    @evolve
    def _subscribed(self, event: Subscribed, envelope: Envelope[Subscribed]) -> None:
        assert envelope.event == event
        self.versions.append(envelope.version)


def test_a_model_gets_envelopes_and_ignores_the_types_it_names(session: Session) -> None:
    """A type that it asks for and neither evolves nor ignores is an error."""
    seen = Decisions(store, Seen)
    store.append(session, PLACE, CourseDefined("c"), Subscribed("c", "s"))
    assert seen.load(session, "c").versions == [2]
    store.append(session, PLACE, Unsubscribed("c", "s"))
    with pytest.raises(UnexpectedEvent, match="Unsubscribed"):
        seen.load(session, "c")


def test_a_class_that_is_no_decision_model_is_refused(session: Session) -> None:
    """A class of another kind, a model without a query, without evolve methods, or that was not loaded."""

    class Empty(DecisionModel):
        pass

    @dataclass
    class Nothing(DecisionModel):
        def query(self) -> list[QueryItem]:
            return []

        @evolve
        def _subscribed(self, event: Subscribed) -> None:
            pass

    with pytest.raises(AggregateError, match="no decision model"):
        Decisions(store, dict)  # type: ignore[type-var]
    with pytest.raises(AggregateError, match="evolves no event"):
        Decisions(store, Empty)
    with pytest.raises(AggregateError, match="QueryItem"):
        Decisions(store, Nothing).load(session)
    with pytest.raises(AggregateError, match="was not loaded"):
        plain.append(session, Seats("c", "s"), PLACE, Subscribed("c", "s"))


def test_snapshots_that_may_hold_personal_data_are_refused() -> None:
    """A snapshot would keep it in plain text."""
    people = Catalog("people")

    @people.event(tags=["key"])
    @dataclass(frozen=True)
    class Named:
        key: str
        name: Annotated[str, Personal()]

    @dataclass
    class Names(DecisionModel):
        names: list[str] = field(default_factory=list)

        def query(self) -> list[QueryItem]:
            return [QueryItem(["key:1"])]

        @evolve(Named)
        def _named(self, event: Any) -> None:
            self.names.append(event.name)

    with pytest.raises(AggregateError, match="personal"):
        Decisions(EventStore(people), Names, snapshots=Snapshots(every=1))
    Decisions(EventStore(people), Names, snapshots=Snapshots(every=1, impersonal=True))
