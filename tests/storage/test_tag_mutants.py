"""Statements of tags that are wrong, each in one way: the test in `test_tags` that tells them from the right ones."""

from collections.abc import Callable
from functools import partial

import pytest

from eventkit.errors import ConcurrencyError
from eventkit.storage.events import decision as tags
from eventkit.storage.events.tag_sql import TagSql
from tests.storage import test_tags as cases
from tests.storage.courses import CourseDefined, store

NOT_CAUGHT = (AssertionError, pytest.fail.Exception, ConcurrencyError)


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
    (_no_lock, cases.test_an_append_waits_for_an_open_one_with_its_tag_and_then_sees_its_event),
    (_only_written_tags_locked, cases.test_decisions_that_write_what_the_other_depends_on_do_not_both_commit),
    (_not_raised, partial(cases.test_a_stricter_caller_is_told_by_postgresql, level="REPEATABLE_READ")),
    (_last_event_not_looked_for, cases.test_an_event_that_a_decision_saw_and_a_savepoint_took_back_is_a_conflict),
    (_one_position_for_all, cases.test_each_tag_has_a_place_of_its_own),
    (_types_ignored, partial(cases.test_an_event_that_does_not_match_is_no_conflict, event=CourseDefined("c1"))),
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
