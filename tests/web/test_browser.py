"""The page in a real browser: an incident from its first sign to calm, on a phone, in the dark, for a screen reader.

The pictures of docs/images are made here: EVENTKIT_SCREENSHOTS=1 writes them.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, ViewportSize, expect, sync_playwright

from eventkit import Metadata, Settings
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.web import ACTIONS, Access, app
from tests.process import EventkitProcess
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until
from tests.web import shop
from tests.web.conftest import Shop
from tests.web.serving import served

IMAGES = Path(__file__).parents[2] / "docs" / "images"
AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP: ViewportSize = {"width": 1180, "height": 780}
PHONE: ViewportSize = {"width": 320, "height": 640}
CANARY = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>'\"&{{7*7}}"
SHORT = "<svg/onload=document.title='pwned'>"  # a correlation id has no spaces
SCREENS = ("/", "/letters", "/letters/list", "/projections", "/events", "/relay", "/processes", "/system")
SOON = 60_000  # milliseconds

expect.set_options(timeout=SOON)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, one for the module."""
    path = shutil.which("chromium")
    if path is None:
        reason = "chromium is not on this machine: install Debian's package `chromium`"
        if os.environ.get("EVENTKIT_REQUIRE_SERVERS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with a relay and a projector that run, and a good order."""
    log = tmp_path_factory.mktemp("log") / "log"
    found = Shop(postgres.fresh())
    shop.create(found.url)
    found.ids["order-1"] = shop.place(found.url, "order-1", shop.OrderPlaced("ann", 12), shop.OrderPaid(12))
    with ExitStack() as stack:
        kafka = stack.enter_context(EmbeddedKafka())
        kafka.create_topic("shop.order")
        words = ("projector", "run", "tests.web.shop:customer_totals", "--from", "store")
        stack.enter_context(EventkitProcess(found.url, kafka.url, log, *words))
        stack.enter_context(EventkitProcess(found.url, kafka.url, log, "relay", "run"))
        yield found
    postgres.drop(found.url)


@pytest.fixture(scope="module")
def address(running: Shop) -> Iterator[str]:
    """The page, for an operator who may do everything."""
    access = Access(who="ann", actions=ACTIONS, payloads="full")
    page = app(Settings(database_url=running.url), access=lambda _: access, read_only=False, catalogs=[shop.shop])
    with served(page) as found:
        yield found


@pytest.fixture
def tab(chromium: Browser, address: str) -> Iterator[Page]:
    """A tab of a desktop's browser; an error in a script, or of the policy, fails the test."""
    with chromium.new_context(viewport=DESKTOP, base_url=address) as context:
        page = watched(context)
        yield page
        assert page.errors == []  # type: ignore[attr-defined] # of `watched`


def watched(context: BrowserContext) -> Page:
    """Return a tab that remembers the errors of its scripts."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: errors.append(message.text) if message.type == "error" and "422" not in message.text else None,
    )
    page.errors = errors  # type: ignore[attr-defined] # read by `tab`
    return page


def picture(page: Page, name: str) -> None:
    """Write a picture for the documents, when asked."""
    if os.environ.get("EVENTKIT_SCREENSHOTS") == "1":
        page.screenshot(path=IMAGES / f"page-{name}.png")


def violations(page: Page) -> list[str]:
    """Return the rules of axe-core that a page breaks."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{each['id']}: {json.dumps(each['nodes'][0]['target'])}" for each in found["violations"]]


def test_an_incident_from_the_first_sign_to_calm(running: Shop, tab: Page) -> None:
    """Calm; a poison event; attention, by itself; the letter; an edit with a mistake; the redrive; calm again."""
    tab.goto("/")
    expect(tab.get_by_text("All is well.")).to_be_visible()

    shop.place(running.url, "order-2", shop.OrderPlaced("eve", -5), shop.OrderPaid(5), shop.OrderPaid(1))
    expect(tab.get_by_role("heading", name="customer_totals")).to_be_visible()
    expect(tab.locator("[data-badge]")).to_have_text("1")
    picture(tab, "attention")

    tab.get_by_role("link", name="Open the letters").click()
    tab.get_by_role("link", name="OrderPlaced").click()
    expect(tab.get_by_text("ValueError")).to_be_visible()
    expect(tab.locator("dd").first).to_contain_text("2")
    expect(tab.locator("pre").last).not_to_contain_text("eve")
    picture(tab, "letter")
    tab.get_by_role("link", name="Show the data").click()
    expect(tab.locator("pre").last).to_contain_text("eve")

    tab.get_by_role("link", name="Edit …").click()
    tab.get_by_label("Data, as JSON").fill('{"customer": "eve", "total": "five"}')
    tab.get_by_role("button", name="Save and redrive").click()
    expect(tab.get_by_role("alert")).to_contain_text("makes no OrderPlaced")
    tab.get_by_label("Data, as JSON").fill('{"customer": "eve", "total": 5}')
    tab.get_by_role("button", name="Save and redrive").click()

    expect(tab.get_by_text("No dead letters.")).to_be_visible()
    tab.get_by_role("link", name="Attention").click()
    expect(tab.get_by_text("All is well.")).to_be_visible()
    picture(tab, "calm")


def test_a_projection_is_paused_and_resumed_by_keyboard(tab: Page) -> None:
    """With Tab and Enter alone, with a visible focus; the record says who."""
    tab.goto("/projection?name=customer_totals")
    press(tab, "Pause …")
    expect(tab.get_by_label("Reason")).to_be_focused()
    tab.keyboard.type("the shop moves")
    press(tab, "Pause")
    expect(tab.get_by_text("Paused by ann")).to_be_visible()
    expect(tab.get_by_text("the shop moves")).to_be_visible()

    press(tab, "Resume …")
    press(tab, "Resume")
    expect(tab.get_by_role("link", name="Pause …")).to_be_visible()
    tab.goto("/system")
    expect(tab.get_by_role("cell", name="resume")).to_be_visible()


def poison(url: str, stream: str, *, customer: str = "eve", metadata: Metadata | None = None) -> str:
    """Append an event that cannot be applied, and wait for its letter; return the event's id."""
    [event] = shop.place(url, stream, shop.OrderPlaced(customer, -5), metadata=metadata)
    with psycopg.connect(url, autocommit=True) as connection:
        find = b"select from eventkit.dead_letters where stream = %s"
        wait_until(lambda: connection.execute(find, [stream]).fetchone() is not None, what="the letter")
    return event


def press(page: Page, name: str) -> None:
    """Go to a link or button by Tab, and press Enter."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "[document.activeElement.innerText, getComputedStyle(document.activeElement).outlineStyle]"
        )
        if focused[0] == name:
            assert focused[1] == "solid"
            with page.expect_navigation():
                page.keyboard.press("Enter")
            return
    raise AssertionError(f"Tab does not come to {name!r}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_on_a_phone_and_for_a_screen_reader(
    chromium: Browser, address: str, running: Shop, scheme: str
) -> None:
    """At 320 pixels nothing is cut off or needs scrolling sideways; axe-core finds no fault; light and dark."""
    poison(running.url, f"order-{scheme}")
    with chromium.new_context(viewport=PHONE, base_url=address, color_scheme=scheme) as context:  # type: ignore[arg-type] # a literal
        page = watched(context)
        page.goto("/letters/list")
        letter = page.get_by_role("link", name="OrderPlaced").first.get_attribute("href") or ""
        more = (
            letter,
            f"{letter}/edit",
            "/letters/discard",
            "/projection?name=customer_totals",
            "/stream?name=order-1",
        )
        event = f"/events/{running.ids['order-1'][0]}"
        for path in (*SCREENS, *more, event):
            page.goto(path)
            wide = page.evaluate("document.documentElement.scrollWidth")

            assert wide <= PHONE["width"], path
            assert violations(page) == [], path
        page.goto("/projections")
        picture(page, f"phone-{scheme}")


def test_a_producers_text_is_never_a_script(chromium: Browser, address: str, running: Shop) -> None:
    """A canary in every field that a producer controls is shown as text, on every screen that shows it."""
    story = Metadata(correlation_id=SHORT, causation_id=SHORT, extra={"note": CANARY})
    event = poison(running.url, "order-canary", customer=CANARY, metadata=story)
    foreign_letter(running.url)
    with chromium.new_context(viewport=DESKTOP, base_url=address) as context:
        page = watched(context)
        page.goto("/letters/list")
        expect(page.get_by_text("<img src=x").first).to_be_visible()
        addresses = [each.get_attribute("href") or "" for each in page.locator("td.name a").all()]
        with_data = [f"{each}?data=full" for each in [*addresses, f"/events/{event}"]]
        for path in (*SCREENS, *addresses, *with_data, "/stream?name=order-canary"):
            page.goto(path)
            expect(page.locator("[data-pulse]")).to_have_text("Live")

            assert page.title() != "pwned", path
            assert page.locator("img").count() == 0, path
            assert "49" not in page.title()
        assert page.errors == []  # type: ignore[attr-defined] # of `watched`


def foreign_letter(url: str) -> None:
    """Keep a malformed message whose every text is the canary."""
    with psycopg.connect(url) as connection:
        connection.execute(
            b"insert into eventkit.dead_letters (parked_by, stream, version, event_id, type, cause, error, detail,"
            b" attempts, event, data) values (%s, %s, 0, gen_random_uuid(), %s, %s, %s, %s, 1, %s, %s)",
            (
                CANARY,
                CANARY,
                CANARY,
                CANARY,
                CANARY,
                CANARY,
                json.dumps({"headers": {CANARY: CANARY}}),
                CANARY.encode(),
            ),
        )


def test_the_tabs_of_a_browser_share_one_stream(chromium: Browser, address: str) -> None:
    """Three tabs are live with one open stream; when its tab closes, another one opens it."""
    with chromium.new_context(viewport=DESKTOP, base_url=address) as context:
        streams: list[Request] = []  # open ones; two tabs that begin at once may both open one, and one gives way
        context.on("request", lambda request: streams.append(request) if request.url.endswith("/live") else None)
        context.on("requestfailed", lambda request: streams.remove(request) if request in streams else None)
        tabs = [context.new_page() for _ in range(3)]
        for page in tabs:
            page.goto("/relay")
            expect(page.locator("[data-pulse]")).to_have_text("Live")
        wait_until(lambda: tabs[0].title() and len(streams) == 1, what="one open stream")

        holder = streams.pop().frame.page
        holder.close()
        others = [page for page in tabs if page is not holder]
        wait_until(lambda: others[0].title() and streams, what="another tab to open the stream")
        for page in others:
            expect(page.locator("[data-pulse]")).to_have_text("Live")


def test_a_read_only_page_offers_nothing_to_press(chromium: Browser, running: Shop) -> None:
    """No button, no form but searches, and it says that it is read-only."""
    with (
        served(app(Settings(database_url=running.url))) as address,
        chromium.new_context(viewport=DESKTOP, base_url=address) as context,
    ):
        page = context.new_page()
        for path in SCREENS:
            page.goto(path)

            expect(page.get_by_text("Read-only")).to_be_visible()
            assert page.locator("form[method=post]").count() == 0
            assert page.get_by_role("link", name="…").count() == 0
