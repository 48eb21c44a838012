"""A process manager: its rows by key, and a process with its events and deadlines."""

from starlette.exceptions import HTTPException
from starlette.responses import Response

from eventkit.errors import StorageError
from eventkit.insights import EventInsight, Insights, Page, ProcessRowInsight, TimerInsight
from eventkit.web.rendering.payloads import shown_data
from eventkit.web.visit import Visit

_LIMIT = 50
_EVENTS = 20  # of a process, and as many deadlines


def show(visit: Visit) -> Response:
    """Show the processes of a manager, or the one with the key that the query gives."""
    name, after = visit.asked("name") or "", visit.asked("after")
    columns = visit.site.answers.ask(lambda insights: insights.process_key(name), "process key", name)
    if columns is None:
        raise HTTPException(404, f"there is no process manager {name!r} with a table in this database")
    key = tuple(value for column in columns if (value := visit.asked(f"key.{column}")))
    page, problem = _rows(visit, name, key if len(key) == len(columns) else (), after)
    one = page.items[0] if len(key) == len(columns) and page.items else None
    events, deadlines = (
        visit.site.answers.ask_now(lambda insights: _story(insights, name, one))
        if one
        else (Page(items=(), next=None), [])
    )
    return visit.show(
        "process_manager.html",
        screen="processes",
        name=name,
        columns=columns,
        key=key,
        page=page,
        problem=problem,
        one=one,
        data=shown_data(visit, one.row if one else None, of=f"process {name} {'-'.join(one.key)!r}" if one else ""),
        events=events,
        deadlines=deadlines,
        address_of=lambda row: visit.url(
            "process_manager", ask={"name": name} | {f"key.{c}": v for c, v in zip(columns, row.key, strict=True)}
        ),
    )


def _rows(
    visit: Visit, name: str, key: tuple[str, ...], after: str | None
) -> tuple[Page[ProcessRowInsight], str | None]:
    """Return the rows; the reason where the session's role may not read the service's table."""
    try:
        return visit.site.answers.ask_now(
            lambda insights: insights.process_rows(name, key=key, after=after, limit=_LIMIT)
        ), None
    except StorageError as error:
        return Page(items=(), next=None), str(error)


def _story(insights: Insights, name: str, row: ProcessRowInsight) -> tuple[Page[EventInsight], list[TimerInsight]]:
    """Return the newest events and the deadlines of the streams that are named by the key of a process."""
    projection = insights.projection(name)
    streams = [f"{category}-{'-'.join(row.key)}" for category in (projection.categories if projection else ())]
    events = [event for stream in streams for event in insights.events(stream=stream, limit=_EVENTS).items]
    deadlines = [timer for stream in streams for timer in insights.timers_page(stream=stream, limit=_EVENTS).items]
    events.sort(key=lambda event: event.position, reverse=True)
    newest = Page(items=tuple(events[:_EVENTS]), next=None)
    return newest, sorted(deadlines, key=lambda timer: timer.due_at)[:_EVENTS]
