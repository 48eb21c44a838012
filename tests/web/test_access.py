"""The guard in front of every route: rights, hosts, forms of other sites, and the headers of each answer."""

import re
from typing import Any

import psycopg
import pytest
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from eventkit import Settings
from eventkit.insights.reader import page_key
from eventkit.web import ACTIONS, Access, app
from eventkit.web.application import routes
from eventkit.web.guard import COOKIE
from tests.web.conftest import HOST, Shop

TOKEN = "t" * 43
PARTS = {"letter:int": "1", "kind": "projection", "event": "{event}"}
QUERIES = {
    "/process-manager": "?name=shipping",
    "/projection": "?name=customer_totals",
    "/stream": "?name=order-1",
    "/pause/{kind}": "?name=customer_totals",
}
ROUTES = [route for route in routes(object()) if isinstance(route, Route)]  # type: ignore[arg-type] # no request is made
READS = [route.path for route in ROUTES if "GET" in (route.methods or ()) and route.name != "live"]
WRITES = [route.path for route in ROUTES if "POST" in (route.methods or ())]
PREPARES = sorted(set(READS) & set(WRITES))


def address(parked: Shop, path: str) -> str:
    """Return the address of a route, with parts that exist."""
    for name, value in PARTS.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{event}", parked.ids["order-1"][0])


def count(url: str) -> list[Any]:
    """Return how many rows an action would change."""
    tables = ("dead_letters", "redrives", "dead_letter_actions", "pauses", "operator_actions")
    with psycopg.connect(url) as connection:
        return [connection.execute(f"select count(*) from eventkit.{table}".encode()).fetchone() for table in tables]


def write(visitor: TestClient, path: str, **headers: str) -> int:
    """Send a form with a right token from this site, unless `headers` say otherwise; return the status."""
    visitor.cookies.set(COOKIE, TOKEN)
    fields = {"token": TOKEN, "name": "customer_totals", "letter": "1", "data": "{}", "highest": "9"}
    answer = visitor.post(path, data=fields, headers={"Origin": HOST, **headers}, follow_redirects=False)
    return int(answer.status_code)


def test_every_action_is_known(parked: Shop) -> None:
    """The tests over all routes see every form, and each has a page before it that asks for a confirmation."""
    del parked
    assert len(WRITES) == len(ACTIONS)
    assert sorted(WRITES) == PREPARES


@pytest.mark.parametrize("path", WRITES)
def test_a_read_only_page_refuses_every_write(parked: Shop, path: str) -> None:
    """The server refuses it, whatever the visitor may do, and nothing has changed."""
    before = count(parked.url)

    with parked.visitor(read_only=True) as visitor:
        status = write(visitor, address(parked, path))

    assert status == 403
    assert count(parked.url) == before


@pytest.mark.parametrize("path", WRITES)
def test_a_visitor_without_the_right_is_refused(parked: Shop, path: str) -> None:
    """Each action needs its own right: a reader may do none, and the others' rights do not help."""
    [action] = [name for name in ACTIONS if name in path]
    before = count(parked.url)

    for actions in (frozenset(), ACTIONS - {action}):
        with parked.visitor(Access(who="eve", actions=frozenset(actions), payloads="full")) as visitor:
            assert write(visitor, address(parked, path)) == 403
            assert visitor.get(address(parked, path)).status_code == 403

    assert count(parked.url) == before


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Sec-Fetch-Site": "same-site"}],
    ids=["another origin", "no origin", "an empty one", "a neighbour's page"],
)
def test_a_form_of_another_site_is_refused(parked: Shop, path: str, headers: dict[str, str]) -> None:
    """Also with the token, which no other site can know."""
    before = count(parked.url)

    with parked.visitor() as visitor:
        assert write(visitor, address(parked, path), **headers) == 403

    assert count(parked.url) == before


@pytest.mark.parametrize("path", WRITES)
def test_a_form_without_the_browsers_token_is_refused(parked: Shop, path: str) -> None:
    """Without a cookie, and with another one."""
    before = count(parked.url)
    origin = {"Origin": HOST}

    with parked.visitor() as visitor:
        assert visitor.post(address(parked, path), data={"token": TOKEN}, headers=origin).status_code == 403
        visitor.cookies.set(COOKIE, "u" * 43)
        assert visitor.post(address(parked, path), data={"token": TOKEN}, headers=origin).status_code == 403
        assert visitor.post(address(parked, path), json={"token": "u" * 43}, headers=origin).status_code == 415

    assert count(parked.url) == before


@pytest.mark.parametrize("path", [*READS, "/live", "/static/page.css"])
def test_another_host_is_refused(parked: Shop, path: str) -> None:
    """A name that somebody lets point to this address (DNS rebinding) gets no answer."""
    with parked.visitor(host="http://evil.example") as visitor:
        answer = visitor.get(address(parked, path))

    assert answer.status_code == 421
    assert "evil.example" in answer.text


@pytest.mark.parametrize("path", [*READS, "/live", "/nothing"])
def test_a_visitor_without_access_sees_nothing(parked: Shop, path: str) -> None:
    """`access` returned None: every route is refused, also when it is asked by an `async def`."""

    async def nobody(request: Request) -> None:
        del request

    page = app(Settings(database_url=parked.url), access=nobody)
    with TestClient(page, base_url=HOST) as visitor:
        answer = visitor.get(address(parked, path))

    assert answer.status_code == (404 if path == "/nothing" else 403)
    assert "customer_totals" not in answer.text
    assert "<nav" not in answer.text


def test_a_visitor_who_is_let_in_keeps_the_navigation_on_an_error(parked: Shop) -> None:
    """A letter that is gone is no refusal."""
    with parked.visitor() as visitor:
        assert "<nav" in visitor.get("/letters/999999").text


@pytest.mark.parametrize("path", ["/letters/list", "/projections", "/events", "/processes", "/system"])
def test_a_key_of_a_page_that_is_changed_is_said_so(parked: Shop, path: str) -> None:
    """Also a number that PostgreSQL does not take: no fault of the page."""
    for key in (page_key(2**70), page_key("x"), page_key(1, "x")):
        with parked.visitor() as visitor:
            assert visitor.get(path, params={"after": key}).status_code in {200, 400}


@pytest.mark.parametrize("path", READS)
def test_every_answer_has_a_strict_policy_and_no_inline_script_or_style(parked: Shop, path: str) -> None:
    """The browser may run and load the page's own files alone, and show the page in no frame."""
    with parked.visitor() as visitor:
        answer = visitor.get(address(parked, path) + QUERIES.get(path, ""))

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", answer.text, re.IGNORECASE)
    assert not re.search(r"(src|href|action|data-hx-get)=\"(https?:)?//", answer.text)


@pytest.mark.parametrize("path", READS)
def test_no_page_shows_a_secret(parked: Shop, path: str) -> None:
    """Passwords of the settings are masked everywhere."""
    url = parked.url.replace("postgres@", "postgres:hunter2@")
    assert "hunter2" in url
    page = app(Settings(database_url=url, transport_url="kafka://ann:hunter2@broker:9092"), read_only=False)
    with TestClient(page, base_url=HOST) as visitor:
        answer = visitor.get(address(parked, path) + QUERIES.get(path, ""))

    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", READS)
def test_no_value_of_a_query_breaks_a_screen(parked: Shop, path: str) -> None:
    """Texts that look like SQL, formats, keys or numbers find nothing or are refused with a sentence."""
    names = ["name", "letter", "after", "timers_after", "of", "stream", "id", "type", "category", "correlation_id"]
    names += ["since", "until", "parked_by", "cause", "data", "key.order_number", "edited"]
    for value in ("'; drop table x; --", "%s {s} {{1}}", "\0\x1b", "9" * 30, "-1", "W10", "\N{COLLISION SYMBOL}" * 50):
        with parked.visitor() as visitor:
            answer = visitor.get(address(parked, path), params=dict.fromkeys(names, value))

        assert answer.status_code in {200, 400, 404, 409}, value


@pytest.mark.parametrize(
    "path",
    [
        "/letters/" + "9" * 30,
        "/letters/" + "9" * 30 + "/edit",
        "/events/x",
        "/events/" + "0" * 32,
        "/pause/world",
        "/x",
    ],
)
def test_a_place_that_is_not_there_is_said_so(parked: Shop, path: str) -> None:
    """A number beyond all letters, an id that is none, another kind: a page with a sentence."""
    with parked.visitor() as visitor:
        answer = visitor.get(path)

    assert answer.status_code in {400, 404}
    assert "<h1>" in answer.text


@pytest.mark.parametrize("path", READS)
def test_every_screen_answers(parked: Shop, path: str) -> None:
    """As a page, and as the part of it that htmx asks for."""
    with parked.visitor() as visitor:
        whole = visitor.get(address(parked, path) + QUERIES.get(path, ""))
        part = visitor.get(address(parked, path) + QUERIES.get(path, ""), headers={"HX-Request": "true"})

    assert (whole.status_code, part.status_code) == (200, 200)
    assert path == "/trend" or ("<html" in whole.text and "<html" not in part.text)
