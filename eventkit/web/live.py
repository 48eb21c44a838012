"""The stream of server-sent events that keeps open pages live.

It says only that there is something new, and the counts of the navigation; each page then asks for its own live part.
The browser's tabs share one stream (`static/live.js`). A stream ends after some seconds and the browser opens the next
one, so that it does not delay the end of the server.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from eventkit.web.refresher import Refresher
from eventkit.web.visit import Visit

_LENGTH = 25.0  # seconds; less than the grace period of most supervisors
_RECONNECT = 1000  # milliseconds


def stream(visit: Visit) -> Response:
    """Answer with the stream."""
    return StreamingResponse(
        _events(visit.site.refresher, visit.request),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},  # a proxy passes on each event at once
    )


async def _events(refresher: Refresher, request: Request) -> AsyncIterator[str]:
    end = time.monotonic() + _LENGTH
    yield f"retry: {_RECONNECT}\n\n"
    with refresher.waking() as news:
        while (left := end - time.monotonic()) > 0 and not await request.is_disconnected():
            yield f"data: {json.dumps(asdict(refresher.pulse))}\n\n"
            refresher.watched()
            try:
                await asyncio.wait_for(news.wait(), left)
            except TimeoutError:
                return
            news.clear()
