"""Streams and events: a search, an event with its causes and effects, and a stream's timeline."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import Response

from eventkit.web.rendering.payloads import shown_data
from eventkit.web.visit import Visit

_LIMIT = 50
_FIELDS = ("stream", "id", "type", "category", "correlation_id")


def search(visit: Visit) -> Response:
    """Show the newest events, or those that match."""
    asked: dict[str, Any] = {name: visit.asked(name) for name in _FIELDS}
    chosen = {**asked, "since": _moment(visit, "since"), "until": _moment(visit, "until")}
    after = visit.asked("after")
    page = visit.site.answers.ask(
        lambda insights: insights.events(**_checked(chosen), after=after, limit=_LIMIT),
        *("events", *chosen.items(), after),
    )
    fields = asked | {name: visit.asked(name) for name in ("since", "until")}
    return visit.show("events.html", screen="events", page=page, chosen=fields)


def event(visit: Visit) -> Response:
    """Show one event, its causes and its effects across streams."""
    name = str(_uuid(str(visit.request.path_params["event"])))
    found = visit.site.answers.ask_now(lambda insights: insights.event(name, payload=True))
    if found is None:
        raise HTTPException(404, f"there is no event {name} in this store: it was pruned, or is elsewhere")
    tree = visit.site.answers.ask(lambda insights: insights.causation_tree(name), "tree", name)
    return visit.show(
        "event.html", screen="events", event=found, data=shown_data(visit, found.data, of=f"event {name}"), tree=tree
    )


def stream(visit: Visit) -> Response:
    """Show a stream: its version, who has read it, and its events, the newest first."""
    name, after = visit.asked("name") or "", visit.asked("after")
    found = visit.site.answers.ask(lambda insights: insights.stream(name), "stream", name)
    if found is None:
        raise HTTPException(404, f"there is no stream {name!r} in this store")
    page = visit.site.answers.ask(
        lambda insights: insights.events(stream=name, after=after, limit=_LIMIT), "timeline", name, after
    )
    return visit.show("stream.html", screen="events", stream=found, page=page)


def _moment(visit: Visit, name: str) -> datetime | None:
    """Return a moment of the query, in UTC where it names no zone."""
    text = visit.asked(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise HTTPException(400, f"{name} {text[:60]!r} is no time: write it as 2026-01-31 14:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise HTTPException(400, f"{text[:60]!r} is no id of an event: it is a UUID") from error


def _checked(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the search without fields that are not given; raise HTTPException for an id that is none."""
    if chosen["id"]:
        _uuid(chosen["id"])
    return {name: value for name, value in chosen.items() if value is not None}
