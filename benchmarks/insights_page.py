"""The time of each screen's first load: a page that has just begun, asked once over HTTP."""

import time
from http.client import HTTPConnection

from benchmarks.insights_store import CATEGORIES
from eventkit.config import Settings
from eventkit.web import app
from tests.web.serving import served

SCREENS = {
    "attention": "/",
    "letters": "/letters",
    "letter_list": "/letters/list?parked_by=projection_3&cause=failed",
    "projections": "/projections",
    "projection": "/projection?name=projection_3",
    "events": "/events",
    "events_by_type": "/events?type=Kind3",
    "stream": f"/stream?name={CATEGORIES[0]}-0",
    "relay": "/relay",
    "processes": "/processes",
    "system": "/system",
}


def first_loads(url: str, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each screen's first load, each from a page of its own."""
    took: dict[str, list[float]] = {name: [] for name in SCREENS}
    for _ in range(rounds):
        for name, path in SCREENS.items():
            with served(app(Settings(database_url=url))) as address:
                took[name].append(_load(address.removeprefix("http://"), path))
    return took


def _load(address: str, path: str) -> float:
    began = time.perf_counter()
    connection = HTTPConnection(address, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    took = (time.perf_counter() - began) * 1_000
    connection.close()
    if response.status != 200 or not body:  # noqa: PLR2004
        raise RuntimeError(f"{path} answered {response.status}")
    return took
