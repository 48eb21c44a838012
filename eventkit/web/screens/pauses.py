"""Pause and resume a projection, or a topic at the relay: a confirmation with a reason, and the action."""

from typing import Literal

from starlette.exceptions import HTTPException
from starlette.responses import Response

from eventkit.errors import PauseRefused
from eventkit.storage.pauses import Kind, Pauses
from eventkit.web.visit import Visit

Verb = Literal["pause", "resume"]

_EFFECTS = {
    ("pause", "projection"): "It applies nothing until it is resumed. Its events wait where they are, and nothing is "
    "lost. Deadlines and other projections go on.",
    ("pause", "topic"): "The relay sends nothing to it until it is resumed. Its events wait in the outbox, in order.",
    ("resume", "projection"): "It goes on where it stopped.",
    ("resume", "topic"): "The relay sends the waiting events, in order.",
}


def confirm_pause(visit: Visit) -> Response:
    """Ask for a confirmation and a reason."""
    return _confirm(visit, "pause")


def confirm_resume(visit: Visit) -> Response:
    """Ask for a confirmation."""
    return _confirm(visit, "resume")


def pause(visit: Visit) -> Response:
    """Pause it."""
    return _act(visit, "pause")


def resume(visit: Visit) -> Response:
    """Resume it."""
    return _act(visit, "resume")


def _confirm(visit: Visit, verb: Verb, problem: str | None = None) -> Response:
    kind = _kind(visit)
    name = visit.form.get("name") or visit.asked("name") or ""
    return visit.show(
        "confirm.html",
        screen="projections" if kind == "projection" else "relay",
        status=422 if problem else 200,
        title=f"{verb.capitalize()} {kind} {name}",
        count=f"{kind.capitalize()} {name}",
        is_possible=True,
        problem=problem,
        effect=_EFFECTS[verb, kind],
        chosen=[],
        fields={"name": name},
        address=visit.url(verb, kind=kind),
        back=_screen(visit, kind, name),
        button=verb.capitalize(),
        is_dangerous=False,
        reason=verb == "pause",
    )


def _act(visit: Visit, verb: Verb) -> Response:
    kind, name = _kind(visit), visit.form.get("name", "")
    try:
        with visit.site.sessions.acting() as session:
            pauses = Pauses(session, visit.site.sessions.schema)
            act = pauses.pause if verb == "pause" else pauses.resume
            act(kind, name, actor=visit.access.who, reason=visit.form.get("reason", "").strip())
    except PauseRefused as error:
        return _confirm(visit, verb, problem=str(error))
    if kind == "projection":
        return visit.go("projection", ask={"name": name})
    return visit.go("relay")


def _kind(visit: Visit) -> Kind:
    kind = visit.request.path_params["kind"]
    if kind == "projection":
        return "projection"
    if kind == "topic":
        return "topic"
    raise HTTPException(404, "only projections and topics can be paused")


def _screen(visit: Visit, kind: Kind, name: str) -> str:
    return visit.url("projection", ask={"name": name}) if kind == "projection" else visit.url("relay")
