"""Start listeners, requesters and senders with an ASGI application, and close them with it.

An ASGI server runs an application's lifespan in each worker process, after the fork. So nothing of eventkit runs in the
process that only loads the application, as under `gunicorn --preload`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from eventkit.errors import TransportUnavailable
from eventkit.messaging import Listener, Requester, Sender

logger = logging.getLogger("eventkit.messaging")

Part = Listener | Requester | Sender


class Lifespan:
    """The lifespan of an ASGI application; FastAPI, Starlette and Litestar take it as it is.

    app = FastAPI(lifespan=Lifespan(sender, requester, prices))
    app = Litestar(handlers, lifespan=[Lifespan(sender, requester, prices)])

    async with lifespan(app):       # inside a lifespan of your own
        yield

    An application may start again after its end, as it does in tests.
    """

    def __init__(self, *parts: Part) -> None:
        """Start `parts` in this order, and close them in the reverse order."""
        self._parts = parts

    @asynccontextmanager
    async def __call__(self, _app: object = None) -> AsyncIterator[None]:
        """Start the parts, run the application, and close the parts.

        Without a broker the application starts all the same: a listener then listens as soon as it can, and calls its
        `on_missed`. Raise TopicUnusable if a topic is missing.
        """
        async with AsyncExitStack() as running:
            for part in self._parts:
                running.push_async_callback(asyncio.to_thread, part.close)
                await asyncio.to_thread(_start, part)
            yield


def _start(part: Part) -> None:
    if isinstance(part, Sender):  # its first message starts it
        return
    try:
        part.start()
    except TransportUnavailable as error:
        logger.warning("the application starts without its broker: %s", error)
        if isinstance(part, Listener):  # a requester is started by its first request
            part.start(at_once=False)
