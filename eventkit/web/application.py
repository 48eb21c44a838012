"""Builds the page as an ASGI application, for `eventkit web` and for a service that mounts it."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from eventkit.config import Settings
from eventkit.domain.catalog import Catalog
from eventkit.errors import DatabaseUnavailable, EventkitError, NotPrimary
from eventkit.web import live
from eventkit.web.access import Access, AccessDecision, reads
from eventkit.web.answers import Answers
from eventkit.web.bulk import Bulk
from eventkit.web.files import Files
from eventkit.web.guard import LOOPBACK, HostGuard
from eventkit.web.refresher import Refresher
from eventkit.web.routes import action, screen
from eventkit.web.screens import (
    attention,
    events,
    letter_actions,
    letters,
    pauses,
    process_managers,
    processes,
    projections,
    relay,
    system,
)
from eventkit.web.sessions import Sessions
from eventkit.web.site import Site
from eventkit.web.visit import ACCESS, Visit

logger = logging.getLogger("eventkit.web")

_TITLES = {
    400: "This cannot be read",
    403: "Not allowed",
    404: "Not there",
    409: "Not now",
    500: "The page has a fault",
    503: "The database does not answer",
}


def app(
    settings: Settings,
    *,
    access: AccessDecision = reads,
    allowed_hosts: Sequence[str] = LOOPBACK,
    read_only: bool = True,
    catalogs: Sequence[Catalog] = (),
) -> ASGIApp:
    """Return the page as an ASGI application, to serve or to mount.

    `settings` name the database, as `eventkit.load_settings()` returns them. `access` decides for each request: None
    refuses it, an `Access` names the visitor and the allowed actions. The default lets everybody read, with masked
    data, so keep the application out of reach of strangers. `allowed_hosts` are this server's names as browsers send
    them, without a port; `*` allows all. `read_only` refuses every action, whatever `access` allows. The event types of
    `catalogs` check the data of edited letters. Raises ConfigurationError if no database is given.
    """
    inner = Starlette(
        lifespan=_closing, exception_handlers={HTTPException: _refused, EventkitError: _failed, Exception: _broken}
    )
    sessions = Sessions(settings)
    answers = Answers(sessions)
    site = Site(
        settings=settings,
        sessions=sessions,
        answers=answers,
        refresher=Refresher(answers),
        bulk=Bulk(),
        access=access,
        read_only=read_only,
        catalogs=catalogs,
        router=inner.router,
    )
    inner.state.site = site
    inner.router.routes.extend(routes(site))
    return HostGuard(inner, allowed_hosts)


@asynccontextmanager
async def _closing(inner: Starlette) -> AsyncIterator[None]:
    """Close the sessions when the server ends."""
    yield
    site: Site = inner.state.site
    await run_in_threadpool(site.refresher.close)
    site.sessions.close()


def routes(site: Site) -> list[BaseRoute]:
    """Return every route, with the right that it needs."""
    return [
        screen(site, "/", attention.show, name="attention"),
        screen(site, "/letters", letters.show, name="letters"),
        screen(site, "/letters/list", letters.list_, name="letter_list"),
        screen(site, "/letters/redrive", letter_actions.preview_redrive, name="redrive", action="redrive"),
        action(site, "/letters/redrive", letter_actions.redrive, name="do_redrive", action="redrive"),
        screen(site, "/letters/discard", letter_actions.preview_discard, name="discard", action="discard"),
        action(site, "/letters/discard", letter_actions.discard, name="do_discard", action="discard"),
        screen(site, "/letters/{letter:int}", letters.letter, name="letter"),
        screen(site, "/letters/{letter:int}/edit", letter_actions.edit_form, name="edit", action="edit"),
        action(site, "/letters/{letter:int}/edit", letter_actions.edit, name="do_edit", action="edit"),
        screen(site, "/projections", projections.show, name="projections"),
        screen(site, "/projection", projections.projection, name="projection"),
        screen(site, "/trend", projections.trend, name="trend"),
        screen(site, "/pause/{kind}", pauses.confirm_pause, name="pause", action="pause"),
        action(site, "/pause/{kind}", pauses.pause, name="do_pause", action="pause"),
        screen(site, "/resume/{kind}", pauses.confirm_resume, name="resume", action="resume"),
        action(site, "/resume/{kind}", pauses.resume, name="do_resume", action="resume"),
        screen(site, "/events", events.search, name="events"),
        screen(site, "/events/{event}", events.event, name="event"),
        screen(site, "/stream", events.stream, name="stream"),
        screen(site, "/relay", relay.show, name="relay"),
        screen(site, "/processes", processes.show, name="processes"),
        screen(site, "/process-manager", process_managers.show, name="process_manager"),
        screen(site, "/system", system.show, name="system"),
        screen(site, "/system/checks", system.checks, name="checks"),
        screen(site, "/live", live.stream, name="live"),
        Mount("/static", Files(), name="static"),
    ]


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(request, error.status_code, error.detail)


async def _failed(request: Request, error: Exception) -> Response:
    away = isinstance(error, DatabaseUnavailable | NotPrimary)
    if away:
        logger.debug("the page cannot answer: %s", error)
    return _error(request, 503 if away else 409, str(error))


async def _broken(request: Request, error: Exception) -> Response:
    """Answer for a fault of the page; its own message is not shown, because it may hold event data."""
    return _error(request, 500, f"{type(error).__name__}: the log of the page's process has the stack.")


def _error(request: Request, status: int, text: str) -> Response:
    site: Site = request.app.state.site
    visit = Visit(site, request, request.scope.get(ACCESS) or Access(who=""))
    return visit.show("error.html", screen="", status=status, title=_TITLES.get(status, "Refused"), text=text)
