"""A route is a screen, which reads, or an action, which a visitor must be allowed to do.

Every route checks the visitor's access before its function runs. The functions block on the database, so they run in
the page's threads.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventkit.web import guard
from eventkit.web.access import Access, Action
from eventkit.web.site import Site
from eventkit.web.visit import ACCESS, Visit

Show = Callable[[Visit], Response]

_MAX_FORM = 2_000_000  # bytes: the data of one event, percent-encoded
_MAX_FIELDS = 100


def screen(site: Site, path: str, show: Show, *, name: str, action: Action | None = None) -> Route:
    """Return the route of a page; a page that prepares an action needs the right to do it."""

    async def answer(request: Request) -> Response:
        visit = Visit(site, request, await _access(site, request))
        if action is not None:
            _check(visit, action)
        site.refresher.watched()
        return await site.threads.run(show, visit)

    return Route(path, answer, methods=["GET"], name=name)


def action(site: Site, path: str, act: Show, *, name: str, action: Action) -> Route:
    """Return the route of a form that changes something."""

    async def answer(request: Request) -> Response:
        access = await _access(site, request)
        _check(Visit(site, request, access), action)
        form = await _form(request)
        guard.check_form(request, form)
        done = await site.threads.run(act, Visit(site, request, access, form))
        site.answers.forget()
        return done

    return Route(path, answer, methods=["POST"], name=name)


async def _access(site: Site, request: Request) -> Access:
    """Ask for the visitor's rights; a function that is not asynchronous may block, so it runs in a thread."""
    called = site.access if inspect.iscoroutinefunction(site.access) else partial(site.threads.run, site.access)
    access: Any = await called(request)
    if inspect.isawaitable(access):
        access = await access
    if access is None:
        raise HTTPException(403, "you may not see this page")
    request.scope[ACCESS] = access
    checked: Access = access
    return checked


def _check(visit: Visit, action: Action) -> None:
    if visit.site.read_only:
        raise HTTPException(403, "this page is read-only: start it with `eventkit web --allow-actions` to act here")
    if not visit.may(action):
        raise HTTPException(403, f"{visit.access.who} may not {action}")


async def _form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; raise HTTPException for anything else, or too much of it."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "this takes the fields of a form")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM:
            raise HTTPException(413, f"the form is larger than {_MAX_FORM:,} bytes")
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
        return {name: value.replace("\0", "") for name, value in fields}
    except ValueError as error:
        raise HTTPException(400, "the form cannot be read") from error
