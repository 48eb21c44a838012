"""Gives the tests' own sessions PostgreSQL's defaults in a run under hostile settings; eventkit's sessions get nothing.

Python imports a module of this name at its start if the folder is on PYTHONPATH, so this reaches each process of a run:
pytest, and the services that tests start. The server has the hostile settings for every role, and eventkit's own
sessions are the only ones that must overrule them: a limit of a millisecond would end a service's transactions.
"""

import contextlib
import logging
import os
from collections.abc import Generator, Mapping
from importlib import import_module

# Formats, the time zone and other manners stay hostile for a service, because `append` and the readers take any.
SANE = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "client_encoding": "UTF8",
    "session_replication_role": "origin",
    "exit_on_error": "off",
    "client_min_messages": "notice",
    "DateStyle": "ISO",  # psycopg reads timestamps in no other style
    "IntervalStyle": "postgres",  # nor intervals
}
_OWN_CLASS = "NotedConnection"  # of eventkit's own sessions
# By a pooler, and by a server that a test starts itself: it is not hostile, and has no grant for the test's roles.
_REFUSED = ("unsupported startup parameter", "permission denied to set parameter")


def change_psycopg() -> None:
    """Send the sane settings with each connection of psycopg, unless they are refused."""
    psycopg, conninfo = import_module("psycopg"), import_module("psycopg.conninfo")
    given = psycopg.Connection._connect_gen.__func__

    def connect(cls: type, address: str = "") -> Generator[object, object, object]:
        if cls.__name__ == _OWN_CLASS:
            return (yield from given(cls, address))
        asked = conninfo.conninfo_to_dict(address).get("options") or os.environ.get("PGOPTIONS", "")
        try:
            return (yield from given(cls, conninfo.make_conninfo(address, options=f"{switches(SANE)} {asked}")))
        except psycopg.OperationalError as error:
            if not any(text in str(error) for text in _REFUSED):
                raise
            return (yield from given(cls, address))

    for kind in (psycopg.Connection, psycopg.AsyncConnection):
        kind._connect_gen = classmethod(connect)


def change_asyncpg() -> None:
    """Send the sane settings with each connection of asyncpg, which ignores PGOPTIONS."""
    module = import_module("asyncpg.connect_utils")
    given = module._connect

    async def connect(*, server_settings: Mapping[str, str] | None = None, **options: object) -> object:
        return await given(server_settings={**SANE, **(server_settings or {})}, **options)

    vars(module)["_connect"] = connect


def change_psycopg2() -> None:
    """Send the sane settings with each connection of psycopg2."""
    module = import_module("psycopg2")
    given = module.connect
    vars(module)["connect"] = lambda *args, **options: given(*args, options=switches(SANE), **options)


def switches(settings: Mapping[str, str]) -> str:
    """Return settings as the switches of libpq's `options`."""
    escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


if __name__ == "sitecustomize":
    for change in (change_psycopg, change_asyncpg, change_psycopg2):
        with contextlib.suppress(ImportError):  # an environment of a test that has no such driver
            change()
    # Tests compare whole outputs, and this line that names overruled settings would be in each of them.
    logging.getLogger("eventkit.session").setLevel(logging.WARNING)
