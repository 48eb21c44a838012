"""Course subscriptions: a course has so many places, a student takes so many courses; no stream could guard both."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from eventkit import Catalog, DecisionModel, Decisions, EventStore, QueryItem, Snapshots, evolve

school = Catalog("school")
store = EventStore(school)


@school.event(tags=["student"])
@dataclass(frozen=True)
class StudentRegistered:
    student: str
    most_courses: int


@school.event(tags=["course"])
@dataclass(frozen=True)
class CourseOffered:
    course: str
    places: int


@school.event(tags=["course", "student"])
@dataclass(frozen=True)
class StudentJoined:
    course: str
    student: str


class Refused(Exception):
    """The course is full, or the student has no time, or is there already."""


@dataclass
class Enrolment(DecisionModel):
    """The free places of a course, and the free time of a student."""

    course: str
    student: str
    places: int = 0
    time: int = 0
    joined: bool = False

    def query(self) -> list[QueryItem]:
        return [QueryItem([f"course:{self.course}"]), QueryItem([f"student:{self.student}"])]

    @evolve
    def _offered(self, event: CourseOffered) -> None:
        self.places += event.places

    @evolve
    def _registered(self, event: StudentRegistered) -> None:
        self.time += event.most_courses

    @evolve
    def _joined(self, event: StudentJoined) -> None:
        self.places -= event.course == self.course
        self.time -= event.student == self.student
        self.joined |= event == StudentJoined(self.course, self.student)

    def join(self) -> StudentJoined:
        if self.joined or self.places < 1 or self.time < 1:
            raise Refused(self)
        return StudentJoined(self.course, self.student)


enrolments = Decisions(store, Enrolment, snapshots=Snapshots(every=100))


def join(session: Session, course: str, student: str) -> None:
    enrolment = enrolments.load(session, course, student)
    enrolments.append(session, enrolment, school.stream("course", course), enrolment.join())


def students_of(session: Session, course: str) -> list[str]:
    joined = store.query(session, QueryItem([f"course:{course}"], types=[StudentJoined]))
    return [envelope.event.student for envelope in joined]
