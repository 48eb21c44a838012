"""The guard in front of every request: it refuses foreign hosts and foreign forms, and sets the security headers.

Host           a page of another site that resolves its name to this address (DNS rebinding) is refused
Origin         a POST must come from this page: by `Sec-Fetch-Site`, and by Origin or Referer
token          a POST carries the value of a cookie that no other site can read or set
CSP            scripts and styles from this page's own files alone, and requests to nowhere else
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
COOKIE: Final = "eventkit_form"
FIELD: Final = "token"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class HostGuard:
    """Refuse requests whose Host is not one of `hosts`; `*` allows all."""

    def __init__(self, inner: ASGIApp, hosts: Iterable[str]) -> None:
        self._inner = inner
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        scope = whole_path(scope)
        host = hostname(Headers(scope=scope).get("host", ""))
        if "*" in self._hosts or host in self._hosts:
            await self._inner(scope, receive, guarded)
        else:
            await _refused(host)(scope, receive, guarded)


def whole_path(scope: Scope) -> Scope:
    """Return the scope with a path that starts with its root, as ASGI wants it.

    `FastAPI(root_path="/api")` behind a proxy that strips `/api` has the root without the path.
    """
    root, outer, path = scope.get("root_path", ""), scope.get("app_root_path", ""), scope["path"]
    below = path == root or path.startswith(f"{root}/")
    return scope if below or not (outer and root.startswith(outer)) else {**scope, "path": outer + path}


def hostname(host: str) -> str:
    """Return a Host header without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def form_token(request: Request) -> str:
    """Return the value that forms of this browser carry: from its cookie, or a new one."""
    known = request.cookies.get(COOKIE, "")
    return known if len(known) >= 32 else secrets.token_urlsafe(32)  # noqa: PLR2004 a cookie of ours is longer


def keep_token(request: Request, response: Response, token: str) -> None:
    """Set the cookie of a form's token."""
    response.set_cookie(
        COOKIE,
        token,
        path=request.scope.get("root_path") or "/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def check_form(request: Request, form: Mapping[str, str]) -> None:
    """Raise HTTPException unless a form was sent by a page of this origin, with the token of its browser."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "this form was sent by a page of another site")
    source = request.headers.get("origin") or request.headers.get("referer", "")
    if urlsplit(source).netloc.lower() != request.headers.get("host", "").lower():
        raise HTTPException(403, "this form was not sent by a page of this site: its Origin is another one")
    known = request.cookies.get(COOKIE, "")
    if not known or not secrets.compare_digest(known.encode(), form.get(FIELD, "").encode()):
        raise HTTPException(403, "this form is too old, or was not made here: open it again")


def _refused(host: str) -> Response:
    return PlainTextResponse(
        f"eventkit: this page does not answer to the host {host[:100]!r}. Open it by the name it was started for, or "
        "allow this one: `eventkit web --allowed-host NAME`, or `allowed_hosts=` of eventkit.web.app.\n",
        status_code=421,
    )
