"""Running processes, and deadlines."""

from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from eventkit.insights import ProcessInsight
from eventkit.web.rendering.words import number, rate
from eventkit.web.visit import Visit

_LIMIT = 50


def show(visit: Visit) -> Response:
    """Show the processes, and the next deadlines."""
    after, timers_after = visit.asked("after"), visit.asked("timers_after")
    answers = visit.site.answers
    registered = answers.ask(lambda insights: insights.projections(limit=_LIMIT), "projections", None)
    return visit.show(
        "processes.html",
        doing=doing,
        managers=[each.name for each in registered.items if each.kind == "process manager"],
        screen="processes",
        processes=answers.ask(lambda insights: insights.processes(after=after, limit=_LIMIT), "processes", after),
        timers=answers.ask(lambda insights: insights.timers(), "timers"),
        deadlines=answers.ask(
            lambda insights: insights.timers_page(after=timers_after, limit=_LIMIT), "deadlines", timers_after
        ),
    )


def doing(process: ProcessInsight) -> Iterator[str]:
    """Yield the state that a process reports, in words."""
    state = process.state
    for part, role in _table(state, "parts").items():
        yield f"part {part}: {role}"
    for name, facts in _table(state, "projections").items():
        waits = facts.get("waits") if isinstance(facts, dict) else None
        yield f"{name}: waits, {waits}" if waits else f"{name}: {_rate(facts)}"
    for key, word in (("published", "published"), ("fired", "fired"), ("done", "events done")):
        if isinstance(value := state.get(key), int):
            yield f"{word} {number(value)}"
    if isinstance(state.get("rate"), int | float):
        yield rate(float(state["rate"]))


def _table(state: dict[str, Any], name: str) -> dict[str, Any]:
    value = state.get(name)
    return value if isinstance(value, dict) else {}


def _rate(facts: object) -> str:
    value = facts.get("rate") if isinstance(facts, dict) else None
    return rate(float(value)) if isinstance(value, int | float) else "no rate yet"
