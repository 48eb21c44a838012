"""Many writers at once: a course never takes an eleventh student, a student never a sixth course."""

import os
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
import pytest

from eventkit import DecisionModel, Decisions, Snapshots, evolve
from eventkit.aggregates.retry import is_conflict
from eventkit.storage.events.event_store import QueryItem
from tests.storage.shop import check_tables
from tests.storage.tags.courses import COURSES, SEATS, Subscribed, Unsubscribed, school, store, subscribe

SECONDS = float(os.environ.get("EVENTKIT_TEST_RACE_SECONDS", "6"))
WRITERS = 16
LEVELS = (psycopg.IsolationLevel.READ_COMMITTED,) * 6 + (
    psycopg.IsolationLevel.REPEATABLE_READ,
    psycopg.IsolationLevel.SERIALIZABLE,
)


@dataclass
class Room(DecisionModel):
    """The subscriptions that stand, of a course and of a student."""

    course: str
    student: str
    standing: list[tuple[str, str]] = field(default_factory=list)

    def query(self) -> list[QueryItem]:
        """Ask for both."""
        return [QueryItem([f"course:{self.course}"]), QueryItem([f"student:{self.student}"])]

    @evolve
    def _subscribed(self, event: Subscribed) -> None:
        self.standing.append((event.course, event.student))

    @evolve
    def _unsubscribed(self, event: Unsubscribed) -> None:
        if (event.course, event.student) in self.standing:
            self.standing.remove((event.course, event.student))


rooms = Decisions(store, Room, snapshots=Snapshots(every=3))


def by_model(connection: psycopg.Connection, course: str, student: str, *, place: str) -> bool:
    """Do as `subscribe` does, by a decision model with snapshots."""
    room = rooms.load(connection, course, student)
    taken = sum(one == course for one, _ in room.standing)
    if taken >= SEATS or len(room.standing) - taken >= COURSES or (course, student) in room.standing:
        return False
    rooms.append(connection, room, school.stream("subscription", place), Subscribed(course, student))
    return True


class Writer(threading.Thread):
    """Subscribes and unsubscribes at random, in transactions of every kind."""

    def __init__(self, url: str, seed: int, until: float) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.failure: Exception | None = None
        self._url, self._chance, self._until, self._seed = url, random.Random(seed), until, seed

    def run(self) -> None:
        """Work until the time is over."""
        try:
            with psycopg.connect(self._url) as connection:
                while time.monotonic() < self._until:
                    self._one(connection)
        except Exception as error:  # noqa: BLE001 raised where the thread is joined
            self.failure = error

    def _one(self, connection: psycopg.Connection) -> None:
        connection.isolation_level = self._chance.choice(LEVELS)
        course, student = f"c{self._chance.randrange(6)}", f"s{self._chance.randrange(24)}"
        try:
            self._decide(connection, course, student)
        except Exception as error:
            connection.rollback()
            if not is_conflict(error):
                raise
            self.counts["refused"] += 1

    def _decide(self, connection: psycopg.Connection, course: str, student: str) -> None:
        place, way = f"{self._seed}-{self.counts.total()}", self._chance.random()
        if way < 0.1:
            event = Unsubscribed(course, student)
            store.append(connection, school.stream("subscription", place), event)
        elif way < 0.3:
            with suppress(ZeroDivisionError), connection.transaction():
                subscribe(connection, course, student, place=place)
                raise ZeroDivisionError
        decide = by_model if self._chance.random() < 0.5 else subscribe
        done = decide(connection, course, student, place=f"{place}-b")
        self.counts["subscribed" if done else "full"] += 1
        if way > 0.9:
            connection.rollback()
        else:
            connection.commit()


@pytest.mark.both_postgres
def test_no_course_is_overbooked_and_no_student_overloaded(database_url: str) -> None:
    """Under any isolation, savepoints and rollbacks, with snapshots and without, no decision is stale."""
    until = time.monotonic() + SECONDS
    writers = [Writer(database_url, seed, until) for seed in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    failures = [writer.failure for writer in writers if writer.failure]
    counts: Counter[str] = sum((writer.counts for writer in writers), Counter())
    assert not failures
    assert counts["subscribed"] > 50
    assert counts["refused"] > 0
    with psycopg.connect(database_url) as connection:
        check_tables(connection)
        assert connection.execute("select count(*) > 0 from eventkit.decision_snapshots").fetchone() == (True,)
        for kind, number, limit in (("course", 6, SEATS), ("student", 24, COURSES)):
            for key in range(number):
                assert _most(connection, f"{kind}:{kind[0]}{key}") <= limit


def _most(connection: psycopg.Connection, tag: str) -> int:
    """Return the largest number of subscriptions that ever stood at once."""
    standing: set[object] = set()
    most = 0
    for envelope in store.query(connection, QueryItem([tag])):
        change = standing.add if isinstance(envelope.event, Subscribed) else standing.discard
        change((envelope.event.course, envelope.event.student))
        most = max(most, len(standing))
    return most
