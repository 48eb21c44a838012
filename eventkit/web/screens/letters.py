"""Dead letters: by cause, one by one, and one letter in full."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from eventkit.insights import DeadLetterInsight
from eventkit.storage.dead_letters import LetterFilter, LetterQuery
from eventkit.web.rendering.payloads import shown_data, shown_text
from eventkit.web.visit import Visit

FILTERS = ("parked_by", "cause", "category", "stream", "type")
_MAX_NUMBER = 2**63 - 1
_GROUPS = 100
_LETTERS = 50
_ACTIONS = 20


def show(visit: Visit) -> Response:
    """Show the letters by projection, cause and category."""
    groups = visit.site.answers.ask(lambda insights: insights.dead_letter_groups(limit=_GROUPS), "letter groups")
    bulk, edited = visit.site.bulk.state, visit.asked("edited")
    return visit.show("letters.html", screen="letters", groups=groups, bulk=bulk, edited=edited, limit=_GROUPS)


def list_(visit: Visit) -> Response:
    """Show the letters that match, page by page."""
    chosen, after = wanted(visit), visit.asked("after")
    page = visit.site.answers.ask(
        lambda insights: insights.dead_letters(
            parked_by=chosen["parked_by"],
            cause=chosen["cause"],
            category=chosen["category"],
            stream=chosen["stream"],
            type=chosen["type"],
            after=after,
            limit=_LETTERS,
        ),
        *("letters", *chosen.items(), after),
    )
    return visit.show("letter_list.html", screen="letters", page=page, chosen=chosen)


def letter(visit: Visit) -> Response:
    """Show one letter: the event, its error, and the events that wait behind it."""
    found = read(visit, letter_number(visit))
    return visit.show(
        "letter.html",
        screen="letters",
        letter=found,
        data=shown_data(visit, found.data, of=f"letter {found.id}"),
        detail=shown_text(visit, found.detail),
        log=_log(visit, found),
    )


def read(visit: Visit, number: int) -> DeadLetterInsight:
    """Return a letter with its data; raise HTTPException where it is gone."""
    found = visit.site.answers.ask_now(lambda insights: insights.dead_letter(number, payload=True))
    if found is None:
        raise HTTPException(404, f"there is no dead letter {number}: it was redriven or discarded")
    return found


def letter_number(visit: Visit) -> int:
    """Return the number of a letter in the path; raise HTTPException for one that PostgreSQL cannot hold."""
    number = int(visit.request.path_params["letter"])
    if number > _MAX_NUMBER:
        raise HTTPException(404, f"there is no dead letter {str(number)[:40]}")
    return number


def wanted(visit: Visit) -> dict[str, str | None]:
    """Return the filter that the query gives."""
    return {name: visit.asked(name) for name in FILTERS}


def letter_filter(chosen: dict[str, Any]) -> LetterFilter:
    """Return the filter for the actions."""
    return LetterFilter(
        by=chosen["parked_by"],
        cause=chosen["cause"],
        category=chosen["category"],
        stream=chosen["stream"],
        type=chosen["type"],
    )


def _log(visit: Visit, found: DeadLetterInsight) -> list[Any]:
    with visit.site.sessions.reading() as session:
        query = LetterQuery(session, visit.site.sessions.schema)
        return query.log(LetterFilter(by=found.parked_by, stream=found.stream), limit=_ACTIONS)
