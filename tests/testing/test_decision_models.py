"""Scenarios of decision models: their events by tags, decisions as functions, and failures with the reason."""

from dataclasses import dataclass

import pytest

from eventkit import DecisionModel, Envelope, QueryItem, evolve
from eventkit.errors import ConfigurationError, InvalidEvent, UnknownEventType
from eventkit.testing import at, given
from tests.aggregates.shop import Added
from tests.storage.tags.courses import CourseDefined, Subscribed, Unsubscribed, school


class Full(Exception):
    """The course has no seat left."""


@dataclass
class Seats(DecisionModel):
    """The free seats of a course."""

    course: str
    free: int = 0
    last: int = 0

    def query(self) -> list[QueryItem]:
        """Ask for the course."""
        return [QueryItem([f"course:{self.course}"])]

    @evolve
    def _defined(self, event: CourseDefined) -> None:
        self.free += event.seats

    @evolve
    def _subscribed(self, event: Subscribed, envelope: Envelope[Subscribed]) -> None:
        del event
        self.free -= 1
        self.last = envelope.position or 0

    def take(self, *students: str) -> list[Subscribed]:
        """Decide."""
        if len(students) > self.free:
            raise Full(self.course)
        return [Subscribed(self.course, student) for student in students]


def close(seats: Seats) -> Unsubscribed | None:
    """Decide, as a function."""
    return None if seats.free else Unsubscribed(seats.course, "all")


def test_a_decision_is_tested_by_a_method_or_a_function() -> None:
    """It returns an event, several, or nothing."""
    full = given(Seats("c1"), CourseDefined("c1", 1), Subscribed("c1", "s1"), catalog=school)

    full.then_state(Seats("c1", 0, last=2)).when(close).then(Unsubscribed("c1", "all"))
    given(Seats("c1"), CourseDefined("c1", 1), catalog=school).when(close).then_nothing()
    given(Seats("c1"), CourseDefined("c1", 2), catalog=school).when(Seats.take, "s1", "s2").then(
        Subscribed("c1", "s1"), Subscribed("c1", "s2")
    )
    given(Seats("c1"), catalog=school).when(Seats.take, "s1").then_raises(Full, "c1")


def test_events_that_the_query_does_not_match_are_left_out() -> None:
    """Of other tags, and of types that the model does not evolve; tags of an append are given by `at`."""
    others = [CourseDefined("c2", 9), Unsubscribed("c1", "s1")]

    assert given(Seats("c1"), *others, catalog=school).state == Seats("c1")
    tagged = at("course-2", CourseDefined("c2", 9), tags=["course:c1"])
    assert given(Seats("c1"), tagged, catalog=school).state == Seats("c1", 9)


def test_a_failure_shows_the_story() -> None:
    """The model, the events, the decision, and what differs."""
    scenario = given(Seats("c1"), CourseDefined("c1", 1), catalog=school).when(Seats.take, "s1")

    with pytest.raises(AssertionError) as caught:
        scenario.then(Subscribed("c1", "s2"))
    assert str(caught.value).splitlines()[1:7] == [
        "given Seats(course='c1', free=0, last=0)",
        "    CourseDefined(course='c1', seats=1)",
        "when",
        "    Seats.take('s1')",
        "",
        "the decided events differ:",
    ]
    with pytest.raises(AssertionError, match=r"it raised\n    Full\('c1'\)"):
        given(Seats("c1"), catalog=school).when(Seats.take, "s1").then()


def test_misuse_is_refused() -> None:
    """Without the catalog; with an event of another catalog; with a tag that cannot be one."""
    with pytest.raises(ConfigurationError, match="catalog="):
        given(Seats("c1"), CourseDefined("c1", 1))  # type: ignore[call-overload]
    with pytest.raises(UnknownEventType, match="Added"):
        given(Seats("c1"), Added("tea"), catalog=school)
    with pytest.raises(InvalidEvent, match="cannot be a tag"):
        given(Seats(""), at("course-1", CourseDefined("c1", 1), tags=[""]), catalog=school)
