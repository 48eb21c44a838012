"""A request, the rights of its visitor, and the answer as HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from eventkit.insights import Attention
from eventkit.web import guard
from eventkit.web.access import Access, Action
from eventkit.web.refresher import Pulse
from eventkit.web.rendering.next_screen import next_screen
from eventkit.web.rendering.words import query
from eventkit.web.site import NAVIGATION, Site

RELEASE = version("eventkit-outbox")
ACCESS = "eventkit.access"  # the rights of the visitor, in the scope of a request that was let in


@dataclass(frozen=True, slots=True)
class Visit:
    """One request; `form` holds the values of a POST."""

    site: Site
    request: Request
    access: Access
    form: Mapping[str, str] = field(default_factory=dict)

    def asked(self, name: str) -> str | None:
        """Return a value of the query; None where it is missing or empty."""
        value = self.request.query_params.get(name, "").strip()
        return value.replace("\0", "") or None

    def may(self, action: Action) -> bool:
        """Return whether this visitor may do an action."""
        return not self.site.read_only and action in self.access.actions

    def url(self, name: str, /, *, ask: Mapping[str, object | None] | None = None, **parts: object) -> str:
        """Return the path of a screen, below the place where the page is mounted, with a query."""
        root = str(self.request.scope.get("root_path", "")).rstrip("/")
        return root + str(self.site.router.url_path_for(name, **parts)) + query(ask or {})

    def same(self, **changed: object | None) -> dict[str, object | None]:
        """Return the query of this screen, with some values changed."""
        return {**self.request.query_params, **changed}

    def static(self, path: str) -> str:
        """Return the address of one of the page's own files; it changes with the release, so browsers may keep it."""
        return self.url("static", path=path) + f"?v={RELEASE}"

    @property
    def here(self) -> str:
        """The address of this screen, with its query."""
        root = str(self.request.scope.get("root_path", "")).rstrip("/")
        path = self.request.url.path
        return (path if path.startswith(root) else root + path) + query(dict(self.request.query_params))

    def of_attention(self, item: Attention) -> tuple[str, str]:
        """Return the label and the address of the screen that shows more about something wrong."""
        return next_screen(self, item)

    def show(self, template: str, *, screen: str, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 of the template
        """Answer with a template: a whole page, or only its live part when htmx asks."""
        token, let_in = guard.form_token(self.request), ACCESS in self.request.scope
        html = self.site.templates.get_template(template).render(
            visit=self,
            screen=screen,
            navigation=NAVIGATION if let_in else (),  # a refused visitor sees nothing of the system
            frame="fragment.html" if self.request.headers.get("hx-request") else "layout.html",
            pulse=self.site.refresher.pulse if let_in else Pulse(),
            token=token,
            token_field=guard.FIELD,
            **values,
        )
        response = HTMLResponse(html, status, headers={"Vary": "HX-Request, Cookie"})
        guard.keep_token(self.request, response, token)
        return response

    def go(self, name: str, /, *, ask: Mapping[str, object | None] | None = None, **parts: object) -> Response:
        """Answer a form: the browser goes to a screen, by GET."""
        return RedirectResponse(self.url(name, ask=ask, **parts), 303)
