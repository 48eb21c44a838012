"""The page: a running system in a browser, for the person who has to mend it.

`eventkit web` serves it; `app` returns it as an ASGI application, to mount in a service behind its own authentication.
Every screen is HTML from the server; htmx replaces its live part. All data come from `eventkit.insights`.
"""

from eventkit.web.access import ACTIONS, PAYLOADS, Access, AccessDecision, Action, Payloads
from eventkit.web.application import app

__all__ = ["ACTIONS", "PAYLOADS", "Access", "AccessDecision", "Action", "Payloads", "app"]
