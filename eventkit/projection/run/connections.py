"""The connections of one projection's process: to the read models' database, to the event store, to the broker.

The store may be in another database. The name of each connection has the projection and the purpose, so that an
operator finds it in `pg_stat_activity`.
"""

from contextlib import ExitStack, closing
from functools import cache
from typing import Any

import psycopg

from eventkit.config import Settings
from eventkit.projection.apply import Decrypter
from eventkit.storage.db import connect
from eventkit.storage.events import History, OwnHistory, RemoteHistory
from eventkit.transports.base import Transport, open_transport

# After 2 s a batch leaves out the streams that others have locked. Eventkit's code takes less than 8 s between two
# statements.
_SESSION = {"lock_timeout": "2s", "idle_in_transaction_session_timeout": "8s"}


class Connections:
    """Opens connections for a projection; the caller closes each."""

    def __init__(self, projection: str, settings: Settings, store_url: str | None) -> None:
        self._projection = projection
        self._settings = settings
        self._store_url = store_url

    def read_models(self, name: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        """Connect to the read models' database."""
        return self._connect(name, self._settings.require_database(), autocommit=autocommit, options=_SESSION)

    def batches(self, timeout: float) -> psycopg.Connection[Any]:
        """Connect for batches, whose handlers may take `timeout` seconds between two statements."""
        options = {**_SESSION, "idle_in_transaction_session_timeout": f"{round(timeout * 1000)}ms"}
        return self._connect("projector", self._settings.require_database(), autocommit=False, options=options)

    def store(self, name: str, *, options: dict[str, str] = _SESSION) -> psycopg.Connection[Any]:
        """Connect to the event store."""
        url = self._store_url or self._settings.require_database()
        return self._connect(name, url, autocommit=True, options=options)

    def history(self, connection: psycopg.Connection[Any]) -> History:
        """Return the history for missing events: on `connection` if the store is in the same database."""
        if self._store_url is None:
            return OwnHistory(connection, self._settings.schema)
        return RemoteHistory(lambda: self.store("projector repair"), self._settings.schema)

    def transport(self, stack: ExitStack) -> Transport:
        """Return a transport to the broker; `stack` closes it."""
        transport = open_transport(self._settings.require_transport(), self._settings.transport_options)
        stack.callback(transport.close)
        return transport

    def decrypter(self, connection: psycopg.Connection[Any], stack: ExitStack) -> Decrypter | None:
        """Return a decrypter of personal data with the store's keys; None without a master key."""
        masters, schema = self._settings.master_keys, self._settings.schema
        if masters is None:
            return None
        if self._store_url is None:
            return Decrypter(masters, schema, lambda: connection)

        @cache
        def keys() -> psycopg.Connection[Any]:
            return stack.enter_context(closing(self.store("projector keys")))

        return Decrypter(masters, schema, keys)

    def _connect(self, name: str, url: str, *, autocommit: bool, options: dict[str, str]) -> psycopg.Connection[Any]:
        label = f"{name} {self._projection}"
        return connect(url, name=label, schema=self._settings.schema, autocommit=autocommit, options=options)
