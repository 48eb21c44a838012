"""A page that shows a stream live."""

import asyncio
from typing import Any

import psycopg
import pytest

from examples import live_fastapi
from examples.live_fastapi import OrderPlaced, OrderShipped, messages, shop, store


async def test_a_browser_gets_the_events_of_one_order_and_resumes_where_it_was(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' events are not sent; a second connection sends nothing twice that the first has handled."""
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", database_url)
    with psycopg.connect(database_url) as connection:
        store.append(connection, shop.stream("order", 7), OrderPlaced("bob"))
        store.append(connection, shop.stream("order", 42), OrderPlaced("ada"))
    browser = messages("42", 0)
    first = await anext(browser)
    with psycopg.connect(database_url) as connection:
        store.append(connection, shop.stream("order", 42), OrderShipped("p1"))
    second = await anext(browser)
    await browser.aclose()  # type: ignore[attr-defined]
    again = messages("42", int(second.split()[1]))

    assert first.endswith(b'data: {"type":"OrderPlaced","customer":"ada"}\n\n')
    assert second.endswith(b'data: {"type":"OrderShipped","parcel":"p1"}\n\n')
    assert (await anext(again)).endswith(b'"parcel":"p1"}\n\n')  # it was under way when the first was closed
    await again.aclose()  # type: ignore[attr-defined]
    assert "EventSource" in live_fastapi.PAGE


@pytest.mark.timeout(300)
async def test_a_browser_that_goes_away_ends_its_subscription(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked as a server asks an application: it resumes from the last id of the browser, until it disconnects."""
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", database_url)
    with psycopg.connect(database_url) as connection:
        first = store.append(connection, shop.stream("order", 42), OrderPlaced("ada"))
        store.append(connection, shop.stream("order", 42), OrderShipped("p1"))
    sent: list[dict[str, Any]] = []
    arrived, gone = asyncio.Event(), asyncio.Event()
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        if (request := next(asked, None)) is not None:
            return request
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401 ASGI's own
        sent.append(message)
        if message.get("body"):
            arrived.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/orders/42/events",
        "raw_path": b"/orders/42/events",
        "query_string": b"",
        "headers": [(b"last-event-id", str(first.position).encode())],
    }
    page = asyncio.create_task(live_fastapi.app(scope, receive, send))
    await asyncio.wait_for(arrived.wait(), 120)
    gone.set()
    await asyncio.wait_for(page, 120)

    assert (sent[0]["status"], dict(sent[0]["headers"])[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
    assert [message["body"].partition(b"data: ")[2] for message in sent[1:] if message["body"]] == [
        b'{"type":"OrderShipped","parcel":"p1"}\n\n'
    ]
