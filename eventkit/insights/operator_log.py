"""Reads the actions of operators, on dead letters and on everything else, as one list, the newest first."""

from collections.abc import Iterator
from datetime import datetime

from eventkit.insights.answers import ActionInsight, Page
from eventkit.insights.dead_letters.letter_groups import split
from eventkit.insights.reader import InsightReader, checked_limit, page_key, read_key

_MAX_ID = 2**63 - 1
_LETTERS = """select id, at, actor, action, parked_by, stream, version, letter, result from {s}.dead_letter_actions
 where id < %(before)s order by id desc limit %(limit)s"""
_OTHERS = """select id, at, actor, action, subject, detail from {s}.operator_actions
 where id < %(before)s order by id desc limit %(limit)s"""


def page(reader: InsightReader, *, after: str | None, limit: int) -> Page[ActionInsight]:
    """Return actions, the newest first; the ids of a table ascend with time."""
    letters_before, others_before = read_key(after, int, int) or (_MAX_ID, _MAX_ID)
    letters = list(_on_letters(reader, letters_before, checked_limit(limit) + 1))
    others = list(_others(reader, others_before, limit + 1))
    items: list[ActionInsight] = []
    while (letters or others) and len(items) < limit:
        newest = max(heads(letters, others), key=_moment)
        (letters if letters and newest is letters[0] else others).pop(0)
        items.append(newest)
    if not letters and not others:
        return Page(items=tuple(items), next=None)
    before = {"letter": letters_before, "operator": others_before}
    before |= {kind: int(number) for kind, _, number in (item.id.partition(":") for item in items)}
    return Page(items=tuple(items), next=page_key(before["letter"], before["operator"]))


def heads(*lists: list[ActionInsight]) -> list[ActionInsight]:
    """Return the first item of each list that has one."""
    return [each[0] for each in lists if each]


def _moment(action: ActionInsight) -> datetime:
    return action.at


def _on_letters(reader: InsightReader, before: int, limit: int) -> Iterator[ActionInsight]:
    for number, at, actor, action, by, stream, version, letter, result in reader.rows(
        _LETTERS, {"before": before, "limit": limit}
    ):
        subject = f"letter {letter} of {split(by)[0]}: {stream} version {version}"
        yield ActionInsight(id=f"letter:{number}", at=at, actor=actor, action=action, subject=subject, detail=result)


def _others(reader: InsightReader, before: int, limit: int) -> Iterator[ActionInsight]:
    for number, at, actor, action, subject, detail in reader.rows(_OTHERS, {"before": before, "limit": limit}):
        yield ActionInsight(id=f"operator:{number}", at=at, actor=actor, action=action, subject=subject, detail=detail)
