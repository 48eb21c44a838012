"""Takes Django's connection: returns psycopg's connection below it, inside `transaction.atomic()`.

    from django.db import connection, transaction

    with transaction.atomic():
        order.save()
        store.append(connection, ORDER, OrderPlaced(...))

Statements run on psycopg's connection, without Django's cursors. This module never imports Django: a caller that has
such a connection has imported it.
"""

import sys
from typing import Any, Protocol, TypeGuard

import psycopg

from eventkit.domain.functions import name_of_class
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
        """Raise in another thread than the connection's."""

    def validate_no_broken_transaction(self) -> None:
        """Raise in an atomic block that has failed already."""


def is_django(connection: object) -> TypeGuard[DjangoConnection]:
    """Return whether the object is a connection of Django."""
    base: Any = sys.modules.get("django.db.backends.base.base")
    proxy: Any = sys.modules.get("django.utils.connection")
    if base is None or proxy is None:
        return False
    return isinstance(connection, (base.BaseDatabaseWrapper, proxy.ConnectionProxy))


def psycopg_of(connection: DjangoConnection, name: str, *, writes: bool) -> psycopg.Connection[Any]:
    """Return psycopg's connection below Django's; `name` is the public function that needs it.

    Raises UnsupportedConnection for another database, another driver, and a write outside of `transaction.atomic()`.
    """
    where = f"{name}: Django's connection {connection.alias!r}"
    if connection.vendor != "postgresql":
        raise UnsupportedConnection(f"{where} is to {connection.vendor}: eventkit needs PostgreSQL, with psycopg 3")
    connection.validate_thread_sharing()
    connection.ensure_connection()
    found = connection.connection
    if not isinstance(found, psycopg.Connection):
        raise UnsupportedConnection(
            f"{where} runs on a {name_of_class(type(found))}: install psycopg 3, which Django 4.2 and later then uses"
        )
    if not connection.in_atomic_block and connection.get_autocommit() and writes:
        raise UnsupportedConnection(
            f"{where} is outside of transaction.atomic(), where each statement commits itself: the events would be "
            "written without your own rows; call it within `with transaction.atomic():`"
        )
    connection.validate_no_broken_transaction()
    return found
