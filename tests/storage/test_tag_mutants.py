"""Statements of tags that are wrong, each in one way: the case that tells them from the right ones."""

from collections.abc import Callable

import psycopg
import pytest

from eventkit.errors import ConcurrencyError, DecisionChanged
from eventkit.storage.events import decision as tags
from eventkit.storage.events.event_store import QueryItem
from eventkit.storage.events.tag_sql import TagSql
from tests.storage.courses import CourseDefined, Subscribed, courses_of, enrol, school, seats_of, store

PLACE = school.stream("subscription", 1)
ELSEWHERE = school.stream("subscription", 2)


def open_appends_are_waited_for(url: str) -> None:
    """An append waits for an open one whose event its decision depends on."""
    with psycopg.connect(url) as connection, psycopg.connect(url) as other:
        decision = store.query(connection, QueryItem(["course:a"]))
        store.append(other, ELSEWHERE, CourseDefined("a"))
        connection.execute("set lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            store.append(connection, PLACE, CourseDefined("b"), unless_changed=decision)


def what_is_depended_on_is_locked(url: str) -> None:
    """Two decisions, each on the tag that the other writes, do not pass each other."""
    with psycopg.connect(url) as connection, psycopg.connect(url) as other:
        first = store.query(other, QueryItem(["course:b"]))
        store.append(other, ELSEWHERE, CourseDefined("a"), unless_changed=first)
        connection.execute("set lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            store.append(connection, PLACE, CourseDefined("b"))


def stricter_callers_are_told(url: str) -> None:
    """A REPEATABLE READ caller whose snapshot hides an event gets an error."""
    with psycopg.connect(url) as connection, psycopg.connect(url) as other:
        enrol(other, ("c1", "s1"))
        other.commit()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        decision = store.query(connection, seats_of("c1"))
        enrol(other, ("c1", "s2"))
        other.commit()
        with pytest.raises(ConcurrencyError):
            store.append(connection, PLACE, Subscribed("c1", "s3"), unless_changed=decision)


def what_was_rolled_back_is_missed(url: str) -> None:
    """A decision on an event that a savepoint took back does not hold."""
    with psycopg.connect(url) as connection:
        connection.execute("savepoint before")
        enrol(connection, ("c1", "s1"))
        decision = store.query(connection, seats_of("c1"))
        connection.execute("rollback to savepoint before")
        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)


def an_event_below_another_tags_last_one_is_found(url: str) -> None:
    """What was open at the query, below the last event of another tag, is found when it has committed."""
    with psycopg.connect(url) as connection, psycopg.connect(url) as slow, psycopg.connect(url) as quick:
        enrol(slow, ("c1", "s1"), place="open")
        enrol(quick, ("c2", "s2"), place="later")
        quick.commit()
        decision = store.query(connection, seats_of("c1"), courses_of("s2"))
        slow.commit()
        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)


def what_does_not_match_is_no_conflict(url: str) -> None:
    """A decision whose tag was used by an event of another type holds."""
    with psycopg.connect(url) as connection, psycopg.connect(url) as other:
        decision = store.query(connection, seats_of("c1"))
        store.append(other, ELSEWHERE, CourseDefined("c1"))
        other.commit()
        store.append(connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)


CASES = (
    open_appends_are_waited_for,
    what_is_depended_on_is_locked,
    stricter_callers_are_told,
    what_was_rolled_back_is_missed,
    an_event_below_another_tags_last_one_is_found,
    what_does_not_match_is_no_conflict,
)
NOT_CAUGHT = (AssertionError, pytest.fail.Exception, ConcurrencyError)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_right_statements_pass(database_url: str, case: Callable[[str], None]) -> None:
    """Each case is a promise of its own, kept on a fresh database."""
    case(database_url)


def _edit(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    right = getattr(store._sql, name)
    texts = right if isinstance(right, tuple) else (right,)
    assert all(old in text for text in texts), f"{old!r} is not in {name}: the mutant would change nothing"
    wrong = tuple(text.replace(old, new) for text in texts)
    monkeypatch.setattr(store._sql, name, wrong if isinstance(right, tuple) else wrong[0])


def _no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store._sql, "lock", "select %(tags)s::text[], %(raises)s::int[]")


def _only_written_tags_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(monkeypatch, "lock", " order by tag", " where raise > 0 order by tag")


def _not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(monkeypatch, "lock", "t.version + excluded.version where excluded.version > 0", "t.version where false")
    _edit(monkeypatch, "tagged", "t.version + excluded.version where excluded.version > 0", "t.version where false")


def _last_event_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(monkeypatch, "decided", "where not exists (", "where false and not exists (")


def _one_position_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tags._look

    def wrong(decision: tags.Decision) -> dict[str, object]:
        highest = max(one.position for one in decision.seen.values())
        seen = {tag: one._replace(position=highest) for tag, one in decision.seen.items() if one.id} | {
            tag: tags.Seen(one.version, highest, None) for tag, one in decision.seen.items() if not one.id
        }
        params = right(tags.Decision(decision.events, decision.items, seen))
        return params | {"seen_tags": "{}", "seen_positions": "{}", "seen_ids": "{}"}

    monkeypatch.setattr(tags, "_look", wrong)


def _types_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(monkeypatch, "decided", "e.type = any(i.types::text[])", "true")


MUTANTS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[str], None]], ...] = (
    (_no_lock, open_appends_are_waited_for),
    (_only_written_tags_locked, what_is_depended_on_is_locked),
    (_not_raised, stricter_callers_are_told),
    (_last_event_not_looked_for, what_was_rolled_back_is_missed),
    (_one_position_for_all, an_event_below_another_tags_last_one_is_found),
    (_types_ignored, what_does_not_match_is_no_conflict),
)


@pytest.mark.parametrize(("mutant", "case"), MUTANTS, ids=lambda part: part.__name__.strip("_"))
def test_a_wrong_statement_is_caught(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
    case: Callable[[str], None],
) -> None:
    """Each part of the statements is needed: without it, its case fails."""
    monkeypatch.setattr(store, "_sql", TagSql("eventkit"))
    mutant(monkeypatch)

    with pytest.raises(NOT_CAUGHT):
        case(database_url)
