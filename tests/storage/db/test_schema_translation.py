"""SQLAlchemy's `schema_translate_map`: refused where it leads eventkit's schema elsewhere, in every public function."""

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from eventkit import Deadlines, Privacy, Repository
from eventkit.errors import UnsupportedConnection
from eventkit.projection import wait_for as waiting
from eventkit.storage.events.event_store import Append, Appended, QueryItem
from tests.storage import people
from tests.storage.db.service_drivers import asyncpg_url
from tests.storage.db.test_drivers import TOTALS, Tally
from tests.storage.shop import ORDER, Placed, sqlalchemy_url, store

REPOSITORY = Repository(store, Tally, category="order")
DEADLINES, PRIVACY = Deadlines(store), Privacy(people.store)
DONE = Appended(ORDER, 1, 1, ())


def _recorded() -> Tally:
    tally = REPOSITORY.new(1)
    tally.record(Placed(1))
    return tally


CALLS: dict[str, tuple[object, Callable[[], tuple[Any, ...]]]] = {
    "append": (store, lambda: (ORDER, Placed(1))),
    "append_many": (store, lambda: ([Append(ORDER, [Placed(1)])],)),
    "query": (store, lambda: (QueryItem(["a"]),)),
    "read_stream": (store, lambda: (ORDER,)),
    "read_all": (store, lambda: ()),
    "read_category": (store, lambda: ("order",)),
    "read_causes": (store, lambda: (UUID(int=1),)),
    "causation_tree": (store, lambda: (UUID(int=1),)),
    "load": (REPOSITORY, lambda: (1,)),
    "save": (REPOSITORY, lambda: (_recorded(),)),
    "save_many": (REPOSITORY, lambda: (_recorded(),)),
    "change": (REPOSITORY, lambda: (1,)),
    "set": (DEADLINES, lambda: (ORDER, Placed(1), timedelta(1))),
    "cancel": (DEADLINES, lambda: (ORDER, Placed)),
    "forget": (PRIVACY, lambda: ("customer-1",)),
    "readmit": (PRIVACY, lambda: ("customer-1",)),
    "wait_for": (waiting, lambda: (TOTALS, DONE)),
}
TRANSLATED = {"eventkit": "tenant"}


def test_the_table_has_every_public_function_that_takes_a_connection() -> None:
    """A new one must be added to it."""
    homes = {id(home): home for home, _ in CALLS.values()}.values()
    taking = {
        name.removesuffix("_async")
        for home in homes
        for name, function in inspect.getmembers(home, callable)
        if not name.startswith("_") and not isinstance(function, type)
        if "connection" in inspect.signature(function).parameters
    }

    assert taking == CALLS.keys()


def _use(found: Any) -> None:
    if hasattr(found, "__enter__"):
        found.__enter__()
    elif inspect.isgenerator(found):
        list(found)


async def _use_async(found: Any) -> None:
    if hasattr(found, "__aenter__"):
        await found.__aenter__()
    elif hasattr(found, "__aiter__"):
        [one async for one in found]
    else:
        await found


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("orm", [True, False], ids=["session", "connection"])
def test_a_map_that_leads_our_schema_elsewhere_is_refused(database_url: str, name: str, *, orm: bool) -> None:
    """Statements name their schema: the sentence says how the other one is used."""
    home, arguments = CALLS[name]
    engine = sa.create_engine(sqlalchemy_url(database_url)).execution_options(schema_translate_map=TRANSLATED)
    refused = pytest.raises(UnsupportedConnection, match=r"schema_translate_map maps schema 'eventkit' to 'tenant'")
    with Session(engine) if orm else engine.connect() as connection, refused:
        _use(getattr(home, name)(connection, *arguments()))
    engine.dispose()


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"write"}))
@pytest.mark.parametrize("url_of", [sqlalchemy_url, asyncpg_url], ids=["psycopg", "asyncpg"])
async def test_an_asynchronous_session_is_refused_likewise(
    database_url: str, name: str, url_of: Callable[[str], str]
) -> None:
    """Over both drivers."""
    home, arguments = CALLS[name]
    engine = create_async_engine(url_of(database_url), execution_options={"schema_translate_map": TRANSLATED})
    async with AsyncSession(engine) as session:
        with pytest.raises(UnsupportedConnection, match=r"EventStore\(…, schema='tenant'\)"):
            await _use_async(getattr(home, f"{name}_async")(session, *arguments()))
    await engine.dispose()


@pytest.mark.parametrize("translated", [{None: "tenant"}, {"sales": "tenant"}, {"eventkit": "eventkit"}])
def test_a_map_of_other_schemas_is_the_services_own(database_url: str, translated: dict[str | None, str]) -> None:
    """Only eventkit's schema is eventkit's matter."""
    engine = sa.create_engine(sqlalchemy_url(database_url)).execution_options(schema_translate_map=translated)
    with Session(engine) as session:
        store.append(session, ORDER, Placed(1))
        assert len(list(store.read_stream(session, ORDER))) == 1
    engine.dispose()
