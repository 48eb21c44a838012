"""A page that shows a stream live: server-sent events from a subscription, without a broker.

$ eventkit db upgrade
$ uvicorn examples.live_fastapi:app
$ curl -N localhost:8000/orders/42/events
"""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
from fastapi import FastAPI, Header
from fastapi.responses import HTMLResponse, StreamingResponse

from eventkit import Catalog, EventStore, load_settings

shop = Catalog("shop")
store = EventStore(shop)
app = FastAPI()


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str


@shop.event
@dataclass(frozen=True)
class OrderShipped:
    parcel: str


PAGE = """<!doctype html><title>order</title><ol id=log></ol><script>
new EventSource(location.pathname + "/events").onmessage = (message) => {
  const item = document.createElement("li")
  item.textContent = message.data
  document.getElementById("log").append(item)
}
</script>"""


@app.get("/orders/{order}", response_class=HTMLResponse)
async def page(order: str) -> str:  # noqa: ARG001 the page's script reads it from its address
    return PAGE


@app.get("/orders/{order}/events")
async def events(order: str, last_event_id: Annotated[int, Header()] = 0) -> StreamingResponse:
    return StreamingResponse(messages(order, last_event_id), media_type="text/event-stream")


async def messages(order: str, after: int) -> AsyncIterator[bytes]:
    """Yield an order's events; a browser that connects again sends the last id, and resumes from there."""
    stream = shop.stream("order", order)
    async with store.subscribe(load_settings().require_database(), after=after, categories=["order"]) as subscription:
        async for envelope in subscription:
            if envelope.stream == stream:
                data = msgspec.json.encode({"type": envelope.type, **asdict(envelope.event)})
                yield b"id: %d\ndata: %s\n\n" % (subscription.position, data)
