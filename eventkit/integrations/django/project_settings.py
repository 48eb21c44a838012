"""Django's settings as eventkit's: the address of a database of `DATABASES`, and the setting `EVENTKIT`."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from urllib.parse import quote, urlencode

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import pq

from eventkit.config import given_by

_NAMES = {"DATABASE", "SCHEMA", "TRANSPORT_URL"}


def database_url(alias: str | None = None) -> str:
    """Return the address of a database of `DATABASES`, for `store.subscribe` and `wait_for`; the default is eventkit's.

    A test's database is that of the test. Raise ImproperlyConfigured for one that is not PostgreSQL.
    """
    alias = alias or _setting().get("DATABASE", DEFAULT_DB_ALIAS)
    connection = connections[alias]
    if connection.vendor != "postgresql":
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}] is {connection.vendor}, and eventkit needs PostgreSQL: "
            "name another alias, EVENTKIT = {'DATABASE': …}"
        )
    parameters = dict(connection.get_connection_params())
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    if role:
        parameters["options"] = f"{parameters.get('options', '')} -c role={_escaped(role)}".strip()
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return _url({name: str(value) for name, value in parameters.items() if name in known and value is not None})


def given_by_django() -> AbstractContextManager[None]:
    """Return a context in which eventkit's settings come from Django's; the environment and options override them."""
    own = _setting()
    return given_by(
        "Django's settings",
        database_url=database_url(),
        schema=own.get("SCHEMA"),
        transport_url=own.get("TRANSPORT_URL"),
    )


def _setting() -> Mapping[str, str]:
    own: Mapping[str, str] = getattr(settings, "EVENTKIT", {})
    unknown = set(own) - _NAMES
    if unknown:
        raise ImproperlyConfigured(
            f"EVENTKIT has unknown names {sorted(unknown)}: there are {', '.join(sorted(_NAMES))}"
        )
    return own


def _url(parameters: Mapping[str, str]) -> str:
    """Return libpq's parameters as a URL; user, password and database have their places, the others are the query."""
    others = dict(parameters)
    user, password, name = (quote(others.pop(key, ""), safe="") for key in ("user", "password", "dbname"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"postgresql://{login}/{name}?{urlencode(others, quote_via=quote)}"


def _escaped(value: str) -> str:
    """Return a value for libpq's `options`, where a space ends a word."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
