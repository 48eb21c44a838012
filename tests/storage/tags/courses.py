"""Courses and students: a decision over two entities, in the transaction that appends it."""

from dataclasses import dataclass

from eventkit.domain.catalog.catalog import Catalog
from eventkit.storage.db.execute import Synchronous
from eventkit.storage.events.event_store import Append, Decision, EventStore, QueryItem

school = Catalog("school")
SEATS, COURSES = 10, 5  # of a course, and of a student


@school.event(tags=["course"])
@dataclass(frozen=True)
class CourseDefined:
    """A course is there."""

    course: str
    seats: int = SEATS


@school.event(tags=["course", "student"])
@dataclass(frozen=True)
class Subscribed:
    """A student takes a course."""

    course: str
    student: str


@school.event(tags=lambda event: [f"course:{event.course}", f"student:{event.student}"])
@dataclass(frozen=True)
class Unsubscribed:
    """A student leaves a course."""

    course: str
    student: str


store = EventStore(school)


def seats_of(course: str) -> QueryItem:
    """Return the query for a course."""
    return QueryItem([f"course:{course}"], types=[Subscribed, Unsubscribed])


def courses_of(student: str) -> QueryItem:
    """Return the query for a student."""
    return QueryItem([f"student:{student}"], types=[Subscribed, Unsubscribed])


def taken(decision: Decision) -> set[tuple[str, str]]:
    """Return the subscriptions that stand."""
    found: set[tuple[str, str]] = set()
    for envelope in decision:
        change = found.add if isinstance(envelope.event, Subscribed) else found.discard
        change((envelope.event.course, envelope.event.student))
    return found


def subscribe(connection: Synchronous, course: str, student: str, *, place: str) -> bool:
    """Subscribe a student where both have room; `place` names the stream."""
    decision = store.query(connection, seats_of(course), courses_of(student))
    standing = taken(decision)
    full = sum(c == course for c, _ in standing) >= SEATS or sum(s == student for _, s in standing) >= COURSES
    if full or (course, student) in standing:
        return False
    event = Subscribed(course, student)
    store.append(connection, school.stream("subscription", place), event, unless_changed=decision)
    return True


def enrol(connection: Synchronous, *pairs: tuple[str, str], place: str = "x") -> None:
    """Subscribe students to courses with room."""
    store.append_many(connection, [Append(school.stream("subscription", place), [Subscribed(*pair) for pair in pairs])])
