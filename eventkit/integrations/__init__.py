"""eventkit inside web frameworks. No framework is imported here: each one is imported by the service that uses it.

`Lifespan` starts and closes listeners, requesters and senders with an ASGI application: FastAPI, Starlette, Litestar.
`eventkit.integrations.django` is an app for `INSTALLED_APPS`. docs/frameworks.md has an example for each framework.
"""

from eventkit.integrations.lifespan import Lifespan

__all__ = ["Lifespan"]
