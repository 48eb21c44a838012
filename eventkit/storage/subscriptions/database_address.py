"""Returns the URL of a database for eventkit's own session: from a URL, an engine of SQLAlchemy or a psycopg pool."""

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, make_url

from eventkit.domain.functions import name_of_class
from eventkit.errors import UnsupportedConnection

_ASYNCPG = "postgresql+asyncpg"


class EngineLike(Protocol):
    """An engine of SQLAlchemy, synchronous or asynchronous."""

    @property
    def url(self) -> URL:
        """The database's URL."""


class PoolLike(Protocol):
    """A pool of psycopg_pool, synchronous or asynchronous."""

    @property
    def conninfo(self) -> Any:  # noqa: ANN401 a text, or a function that returns one
        """The connection string."""


Database = str | URL | EngineLike | PoolLike


def address_of(database: object) -> str:
    """Return the URL of a database; raise UnsupportedConnection for another object."""
    url = getattr(database, "url", database)
    if isinstance(url, str) and url.startswith(f"{_ASYNCPG}://"):
        url = make_url(url)
    if isinstance(url, URL):
        return _for_psycopg(url).render_as_string(hide_password=False)
    if isinstance(url, str):
        return url
    if (found := _of_pool(database)) is not None:
        return found
    raise UnsupportedConnection(
        f"subscribe: a {name_of_class(type(database))} is no database: give its URL, an engine, or a pool of "
        "psycopg that was made with a connection string; a subscription has its own connection, outside of the "
        "caller's transaction"
    )


def _for_psycopg(url: URL) -> URL:
    """Return an asyncpg URL with libpq's names, without options that only asyncpg has."""
    if url.drivername != _ASYNCPG:
        return url
    query = {"sslmode" if name == "ssl" else name: value for name, value in url.query.items()}
    return url.set(drivername="postgresql", query={name: query[name] for name in query if name in _keywords()})


def _of_pool(database: object) -> str | None:
    conninfo, options = getattr(database, "conninfo", None), getattr(database, "kwargs", None) or {}
    if not isinstance(conninfo, str) or not isinstance(options, Mapping):
        return None
    known = _keywords()
    parts = conninfo_to_dict(conninfo, **{name: value for name, value in options.items() if name in known})
    return f"postgresql://?{urlencode({name: str(value) for name, value in parts.items()}, quote_via=quote)}"


def _keywords() -> set[str]:
    return {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
