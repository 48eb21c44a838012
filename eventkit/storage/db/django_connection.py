"""Django's connection: psycopg's connection inside `transaction.atomic()`, or a refusal in a sentence.

    from django.db import connection, transaction

    with transaction.atomic():
        order.save()
        store.append(connection, ORDER, OrderPlaced(...))

Statements run on psycopg's connection below Django's cursors. Django is never imported here: who hands over its
connection has imported it.
"""

import sys
from typing import Any, Protocol, TypeGuard

import psycopg

from eventkit.errors import UnsupportedConnection


class DjangoConnection(Protocol):
    """`django.db.connection`, or one of `django.db.connections`."""

    alias: str
    vendor: str
    in_atomic_block: bool
    connection: Any

    def ensure_connection(self) -> None:
        """Connect."""

    def get_autocommit(self) -> bool:
        """Whether each statement commits itself."""

    def validate_thread_sharing(self) -> None:
        """Refuse another thread."""

    def validate_no_broken_transaction(self) -> None:
        """Refuse a block that has failed already."""


def is_django(connection: object) -> TypeGuard[DjangoConnection]:
    """Return whether it is a connection of Django's."""
    base: Any = sys.modules.get("django.db.backends.base.base")
    proxy: Any = sys.modules.get("django.utils.connection")
    if base is None or proxy is None:
        return False
    return isinstance(connection, (base.BaseDatabaseWrapper, proxy.ConnectionProxy))


def psycopg_of(connection: DjangoConnection, name: str, *, writes: bool) -> psycopg.Connection[Any]:
    """Return psycopg's connection below; `name` is the function that asks for it."""
    where = f"{name}: Django's connection {connection.alias!r}"
    if connection.vendor != "postgresql":
        raise UnsupportedConnection(f"{where} is of {connection.vendor}: events are in PostgreSQL, with psycopg 3")
    connection.validate_thread_sharing()
    connection.ensure_connection()
    found = connection.connection
    if not isinstance(found, psycopg.Connection):
        kind = f"{type(found).__module__}.{type(found).__qualname__}"
        raise UnsupportedConnection(
            f"{where} runs on a {kind}: install psycopg 3, which Django 4.2 and later takes by itself"
        )
    if not connection.in_atomic_block and connection.get_autocommit() and writes:
        raise UnsupportedConnection(
            f"{where} is outside of transaction.atomic(), where each statement commits itself: the events would be "
            "written without your own rows; call it within `with transaction.atomic():`"
        )
    connection.validate_no_broken_transaction()
    return found
