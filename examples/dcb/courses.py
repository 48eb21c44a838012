"""Course subscriptions: a course has so many seats, a student takes five courses at most; no stream guards both."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from eventkit import Catalog, EventStore, QueryItem

school = Catalog("school")
store = EventStore(school)
MOST = 5  # courses of a student


@school.event(tags=["course"])
@dataclass(frozen=True)
class CourseDefined:
    course: str
    seats: int


@school.event(tags=["course", "student"])
@dataclass(frozen=True)
class Subscribed:
    course: str
    student: str


class Full(Exception):
    """A course has no seat left, or a student no time."""


def define(session: Session, course: str, seats: int) -> None:
    store.append(session, school.stream("course", course), CourseDefined(course, seats))


def subscribe(session: Session, course: str, student: str) -> None:
    decision = store.query(session, QueryItem([f"course:{course}"]), QueryItem([f"student:{student}"]))
    events = [envelope.event for envelope in decision]
    seats = sum(event.seats for event in events if isinstance(event, CourseDefined))
    taken = [event for event in events if isinstance(event, Subscribed)]
    if sum(one.course == course for one in taken) >= seats or sum(one.student == student for one in taken) >= MOST:
        raise Full(course, student)
    stream = school.stream("subscription", f"{course}.{student}")
    store.append(session, stream, Subscribed(course, student), unless_changed=decision)
