"""The screens: mounted in a service, with masked data, without a database, and for each thing that needs attention."""

import asyncio
import re
import threading

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from eventkit import Settings
from eventkit.errors import DatabaseUnavailable
from eventkit.insights.attention import CODES
from eventkit.web import ACTIONS, Access, Payloads, app
from eventkit.web.answers import Answers
from eventkit.web.rendering.next_screen import SCREENS
from eventkit.web.rendering.words import age, amount, number, rate, size
from eventkit.web.sessions import Sessions
from tests.web.conftest import HOST, Shop

LINK = re.compile(r'(?:href|src|action|data-hx-get|data-live)="([^"#]+)')


def test_a_mounted_page_stays_below_its_path(parked: Shop) -> None:
    """Every link, form, script and stream is below the path of the mount, and works there."""
    page = app(Settings(database_url=parked.url))
    service = Starlette(routes=[Mount("/ops/eventkit", page)])
    with TestClient(service, base_url=HOST) as visitor:
        links = set(LINK.findall(visitor.get("/ops/eventkit/letters/list").text))
        statuses = {link: visitor.get(link).status_code for link in links if not link.endswith("/live")}

    assert all(link.startswith("/ops/eventkit/") for link in links)
    assert set(statuses.values()) == {200}
    assert len(links) > 10


@pytest.mark.parametrize(
    ("payloads", "query", "names", "values"),
    [
        ("none", "?data=full", False, False),
        ("masked", "?data=full", True, False),
        ("full", "", True, False),
        ("full", "?data=full", True, True),
    ],
)
def test_data_is_shown_as_far_as_the_visitor_may_see_it(
    parked: Shop, *, payloads: Payloads, query: str, names: bool, values: bool
) -> None:
    """Nothing, the names of the fields, or the values when asked for, of an event and of a letter."""
    with parked.visitor(Access(who="eve", payloads=payloads)) as visitor:
        for path in (f"/events/{parked.ids['order-2'][0]}", "/letters/3"):
            text = visitor.get(path + query).text

            assert ("&#34;customer&#34;" in text) is names
            assert ("customer 2" in text) is values


def test_an_event_shows_its_place_and_its_stream(parked: Shop) -> None:
    """A search by id finds it; its stream shows who has read it, and that it is parked there."""
    event = parked.ids["order-1"][0]
    with parked.visitor() as visitor:
        found = visitor.get("/events", params={"id": event}).text
        stream = visitor.get("/stream", params={"name": "order-1"}).text
        wrong = visitor.get("/events", params={"since": "yesterday"})

    assert found.count("OrderPlaced</a>") == 1
    assert "customer_totals" in stream
    assert ">parked<" in stream
    assert (wrong.status_code, "write it as 2026-01-31 14:00" in wrong.text) == (400, True)


def test_a_process_is_found_by_its_key_with_events_and_deadlines(parked: Shop) -> None:
    """The rows of a process manager are in the service's own table; the values of a row are masked until asked for."""
    with parked.visitor() as visitor:
        overview = visitor.get("/processes").text
        first = visitor.get("/process-manager?name=shipping").text
        one = visitor.get("/process-manager?name=shipping&key.order_number=4").text
        shown = visitor.get("/process-manager?name=shipping&key.order_number=4&data=full").text
        none = visitor.get("/process-manager?name=shipping&key.order_number=x").text
        after = re.findall(r'rel="next" href="([^"]+)"', first)
        second = visitor.get(after[0].replace("&amp;", "&")).text

    assert ">shipping</a>" in overview
    assert first.count('data-label="Key"') == 50
    assert second.count('data-label="Key"') == 10
    assert ("OrderPlaced" in one, "street 4" in one, "street 4" in shown) == (True, False, True)
    assert "No process has this key." in none


def test_without_a_database_the_page_says_so() -> None:
    """Each screen answers 503 with a sentence; its password is not in it, and the stream of news goes on."""
    page = app(Settings(database_url="postgresql://ann:hunter2@127.0.0.1:1/shop"))
    with TestClient(page, base_url=HOST) as visitor:
        for path in ("/", "/letters", "/relay"):
            answer = visitor.get(path)

            assert answer.status_code == 503
            assert "cannot be reached" in answer.text
            assert "hunter2" not in answer.text


def test_a_fault_of_the_page_says_nothing_of_the_data(parked: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer names the error's class; its message, which may hold data of an event, is for the log."""

    def broken(_: object) -> None:
        raise RuntimeError("secret of an event")

    with parked.visitor() as visitor:
        monkeypatch.setattr("eventkit.insights.Insights.relay", broken)
        answer = visitor.get("/relay")

    assert answer.status_code == 500
    assert "RuntimeError" in answer.text
    assert "secret" not in answer.text


def test_each_thing_that_needs_attention_has_a_screen() -> None:
    """Every code leads to the screen that shows more."""
    assert SCREENS.keys() == CODES.keys()


def test_a_visitor_may_be_named_by_an_async_function(parked: Shop) -> None:
    """`access` of an asynchronous service is awaited."""

    async def access(_: object) -> Access:
        asyncio.get_running_loop()
        return Access(who="zoe", actions=ACTIONS)

    with TestClient(app(Settings(database_url=parked.url), access=access), base_url=HOST) as visitor:
        assert "zoe" in visitor.get("/").text


def test_a_function_that_names_the_visitor_may_block(parked: Shop) -> None:
    """It runs in a thread of the page, and not in the loop of the mounting service."""

    def access(_: object) -> Access:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return Access(who="zoe", actions=ACTIONS)

    with TestClient(app(Settings(database_url=parked.url), access=access), base_url=HOST) as visitor:
        assert "zoe" in visitor.get("/").text


def test_behind_a_proxy_that_strips_its_prefix_the_page_stays_below_it(parked: Shop) -> None:
    """The root has the prefix and the path has not, as with `FastAPI(root_path=...)`."""
    service = Starlette(routes=[Mount("/ops", app(Settings(database_url=parked.url)))])
    with TestClient(service, base_url=HOST, root_path="/api") as visitor:
        for path in ("/ops/", "/ops/letters/list", "/ops/static/page.css"):
            assert visitor.get(path).status_code == 200

        links = LINK.findall(visitor.get("/ops/letters/list").text)

    assert links
    assert all(link.startswith("/api/ops/") for link in links)


def test_a_question_that_hangs_delays_the_others_once(parked: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next visitor waits some seconds, those after it are told so at once, and the answer ends that."""
    monkeypatch.setattr("eventkit.web.answers.BUSY_AFTER", 0.01)
    answers, hangs, end = Answers(Sessions(Settings(database_url=parked.url))), threading.Event(), threading.Event()

    def frozen(_: object) -> str:
        hangs.set()
        assert end.wait(60)
        return "an answer"

    first = threading.Thread(target=answers.ask, args=(frozen, "key"))
    first.start()
    assert hangs.wait(60)
    for patience in (0.01, 3_600):
        monkeypatch.setattr("eventkit.web.answers.BUSY_AFTER", patience)
        with pytest.raises(DatabaseUnavailable, match="hangs, or is slow"):
            answers.ask(frozen, "key")
    end.set()
    first.join(60)

    assert answers.ask(frozen, "key") == "an answer"


def test_numbers_are_words_for_a_person() -> None:
    """Separators, units, and `unknown` where nothing is known."""
    assert (number(1234567), number(None), number(0.5)) == ("1,234,567", "unknown", "0.5")
    assert (age(0), age(0.25), age(119), age(3 * 3600), age(None)) == ("0 s", "0.2 s", "119 s", "3 h", "unknown")
    assert (size(999), size(1500), size(25_000_000)) == ("999 B", "1.5 kB", "25 MB")
    assert (rate(1.25), rate(12345.6), amount(None)) == ("1.2/s", "12,346/s", "unknown")
