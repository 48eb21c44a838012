"""Statements of tags that are wrong, each in one way: a test in `test_tags` fails with each."""

from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from eventkit.errors import ConcurrencyError
from eventkit.storage.db.execute import Steps
from eventkit.storage.events import append, tag_sql
from eventkit.storage.events import decision as tags
from eventkit.storage.events.append_sql import MANY_LOCKS, ONE_LOCKS, SqlParts, many_sql, one_sql
from eventkit.storage.events.tag_sql import TagSql
from tests.storage.tags import test_tag_cases as waits
from tests.storage.tags import test_tags as cases
from tests.storage.tags.courses import CourseDefined, store

NOT_CAUGHT = (AssertionError, pytest.fail.Exception, ConcurrencyError, psycopg.errors.LockNotAvailable)


def _edit(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    right = getattr(store._sql, name)
    texts = right if isinstance(right, tuple) else (right,)
    assert all(old in text for text in texts), f"{old!r} is not in {name}: the mutant would change nothing"
    wrong = tuple(text.replace(old, new) for text in texts)
    monkeypatch.setattr(store._sql, name, wrong if isinstance(right, tuple) else wrong[0])


def _edit_appends(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """Change the statements for one event and for several."""
    _edit(monkeypatch, name, old, new)
    _edit(monkeypatch, f"{name}_one", old, new)


def _set_appends(monkeypatch: pytest.MonkeyPatch, name: str, parts: SqlParts, then: str = "") -> None:
    """Append by other parts, after the parts that write the tags comes `then`."""
    many, one = (
        parts._replace(then=(tagged + then).format(s="eventkit")) for tagged in (tag_sql._TAGGED, tag_sql._ONE_TAGGED)
    )
    monkeypatch.setattr(store._sql, name, tuple(many_sql("eventkit", lock, many) for lock in MANY_LOCKS))
    monkeypatch.setattr(store._sql, f"{name}_one", tuple(one_sql("eventkit", lock, one) for lock in ONE_LOCKS))


def _no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store._sql, "lock", "select %(tags)s::text[], %(raises)s::int[]")


def _only_written_tags_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(monkeypatch, "lock", " order by tag", " where raise > 0 order by tag")


def _not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit(monkeypatch, "lock", "t.version + excluded.version where excluded.version > 0", "t.version where false")
    _edit_appends(
        monkeypatch, "tagged", "t.version + excluded.version where excluded.version > 0", "t.version where false"
    )


def _last_event_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit_appends(monkeypatch, "decided", "where not exists (", "where false and not exists (")


def _one_position_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tags._check_params

    def wrong(decision: tags.Decision) -> dict[str, object]:
        highest = max(one.position for one in decision.seen.values())
        seen = {tag: one._replace(position=highest) for tag, one in decision.seen.items() if one.id} | {
            tag: tags.Seen(one.version, highest, None) for tag, one in decision.seen.items() if not one.id
        }
        params = right(tags.Decision(decision.events, decision.items, seen))
        return params | {"seen_tags": "{}", "seen_positions": "{}", "seen_ids": "{}"}

    monkeypatch.setattr(tags, "_check_params", wrong)


def _types_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit_appends(monkeypatch, "decided", "e.kind = any(i.types::text[])", "true")


def _always_conflicting(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit_appends(
        monkeypatch, "decided", "hit as materialized (select exists (", "hit as materialized (select true or exists ("
    )


def _unsorted(monkeypatch: pytest.MonkeyPatch) -> None:
    _edit_appends(monkeypatch, "tagged", '\n order by tag collate "C"\non conflict', "\non conflict")


def _locked_after_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    locked = ", k as (\n" + tag_sql.LOCK + "\nreturning tag)"
    _set_appends(monkeypatch, "tagged", SqlParts(), locked)


def _decided_by(monkeypatch: pytest.MonkeyPatch, look: str, more: Callable[[Any, tags.Decision], Any]) -> None:
    """Append by another look, with more parameters."""
    parts = SqlParts(
        before=look.format(s="eventkit"),
        source="hit",
        only="not hit.hit",
        end=tag_sql._NO_ROW.format(""),
    )
    _set_appends(monkeypatch, "decided", parts)
    right = tags.tagged_statement

    def wrong(sql: TagSql, topics: Any, entries: Any, decision: Any, kind: int) -> Any:  # noqa: ANN401 passed on
        text, params = right(sql, topics, entries, decision, kind)
        return text, params if decision is None else params | more(entries, decision)

    monkeypatch.setattr(append, "tagged_statement", wrong)


def _locked_and_looked_in_one_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    look = tag_sql._LOCKED + tag_sql._CHECK.replace(
        "(select exists (", "(select (select count(*) < 0 from k) or exists ("
    )
    _decided_by(monkeypatch, look, lambda entries, seen: tags._raises(tags.tags_of(entries), seen.seen))
    monkeypatch.setattr(store._sql, "lock", "select %(tags)s::text[], %(raises)s::int[]")


def _versions_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    look = """hit as materialized (select exists (
      select from unnest(%(known)s::text[], %(versions)s::bigint[]) h(tag, version) join {s}.tags t using (tag)
       where t.version <> h.version) as hit), """

    def versions(entries: Any, decision: tags.Decision) -> dict[str, object]:  # noqa: ANN401 passed on
        carried = tags.tags_of(entries)
        expected = {tag: seen.version + carried.count(tag) for tag, seen in decision.seen.items()}
        return {"known": list(expected), "versions": list(expected.values())}

    _decided_by(monkeypatch, look, versions)


def _places_read_after_events(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tags.query_steps

    def wrong(*args: Any) -> Steps[tags.Found]:  # noqa: ANN401 passed on
        events = yield from right(*args)
        places = yield from right(*args)
        return events._replace(seen=places.seen)

    monkeypatch.setattr(tags, "query_steps", wrong)  # the case drives it by hand


MUTANTS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[str], None]], ...] = (
    (_no_lock, cases.test_an_append_waits_for_an_open_one_with_its_tag_and_then_sees_its_event),
    (_only_written_tags_locked, cases.test_decisions_that_write_each_others_tags_do_not_both_commit),
    (_not_raised, partial(cases.test_a_stricter_caller_gets_postgresqls_error, level="REPEATABLE_READ")),
    (_last_event_not_looked_for, cases.test_an_event_that_a_decision_saw_and_a_savepoint_took_back_is_a_conflict),
    (_one_position_for_all, cases.test_each_tag_has_a_place_of_its_own),
    (_types_ignored, partial(cases.test_an_event_that_does_not_match_is_no_conflict, event=CourseDefined("c1"))),
    (_always_conflicting, partial(cases.test_an_event_that_does_not_match_is_no_conflict, event=CourseDefined("c1"))),
    (_locked_and_looked_in_one_statement, waits.test_an_event_that_came_while_it_waited_is_found),
    (_locked_after_positions, waits.test_an_event_that_waited_for_a_tag_has_a_higher_position),
    (_places_read_after_events, waits.test_an_event_between_the_statements_of_a_query_is_found),
    (_versions_compared, waits.test_an_event_in_place_of_a_rolled_back_one_is_found),
    (_unsorted, waits.test_tags_are_locked_in_one_order),
)


@pytest.mark.parametrize(("mutant", "case"), MUTANTS, ids=[mutant.__name__.strip("_") for mutant, _ in MUTANTS])
def test_a_wrong_statement_is_caught(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
    case: Callable[[str], None],
) -> None:
    """Each part of the statements is needed: without it, its test fails."""
    monkeypatch.setattr(store, "_sql", TagSql("eventkit"))
    mutant(monkeypatch)

    with pytest.raises(NOT_CAUGHT):
        case(database_url)
