"""A database with a shop's events and dead letters, shared by a module's tests; each has a stream of its own."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from starlette.testclient import TestClient

from eventkit import Settings
from eventkit.projection.run import ProjectionRunner, SourceOptions
from eventkit.web import ACTIONS, Access, app
from eventkit.worker import Stop
from tests.servers.postgres import PostgresServer
from tests.web import shop

HOST = "http://127.0.0.1"
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')
_ACTION = re.compile(r'<form method="post" action="([^"]*)"')


@dataclass(frozen=True)
class Shop:
    """The database of a shop with dead letters; `ids` are those of each stream's events."""

    url: str
    ids: dict[str, list[str]] = field(default_factory=dict)

    def visitor(self, access: Access | None = None, *, read_only: bool = False, host: str = HOST) -> TestClient:
        """Return a browser without scripts, which visits the page with these rights."""
        given = access or Access(who="ann", actions=ACTIONS, payloads="full")
        page = app(Settings(database_url=self.url), access=lambda _: given, read_only=read_only, catalogs=[shop.shop])
        return TestClient(page, base_url=host, raise_server_exceptions=False)

    def apply(self) -> None:
        """Let the projector apply everything that it can, and park the rest."""
        options = SourceOptions(from_store=True, until_idle=0.05)
        ProjectionRunner(shop.customer_totals, Settings(database_url=self.url), options).work(Stop())


@pytest.fixture(scope="module")
def parked(postgres: PostgresServer) -> Iterator[Shop]:
    """Five streams whose first event is poison, each with one event behind it, and one good stream."""
    found = Shop(postgres.fresh())
    shop.create(found.url)
    for number in range(1, 6):
        poison = shop.OrderPlaced(f"customer {number}", -number)
        found.ids[f"order-{number}"] = shop.place(found.url, f"order-{number}", poison, shop.OrderPaid(number))
    found.ids["order-9"] = shop.place(found.url, "order-9", shop.OrderPlaced("good", 9))
    found.apply()
    shop.manage(found.url)
    yield found
    postgres.drop(found.url)


def send(visitor: TestClient, form: str, **fields: str) -> tuple[int, str]:
    """Open the page with a form, send it with these fields, and return the status and the text that follow."""
    shown = visitor.get(form)
    [action] = _ACTION.findall(shown.text)
    answer = visitor.post(action, data={**hidden(shown.text), **fields}, headers={"Origin": HOST})
    return answer.status_code, answer.text


def hidden(page: str) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    return {name: html.unescape(value) for name, value in _HIDDEN.findall(page)}
