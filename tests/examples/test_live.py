"""A page that shows a stream live."""

import psycopg
import pytest

from examples import live_fastapi
from examples.live_fastapi import OrderPlaced, OrderShipped, messages, shop, store


async def test_a_browser_gets_the_events_of_one_order_and_goes_on_where_it_was(
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
