"""Django's connection: taken inside `atomic()`; other forms are refused in a sentence."""

from collections.abc import Iterator
from typing import Any

import django.db
import psycopg
import psycopg2
import pytest
from django.db import DatabaseError, transaction
from django.db.transaction import TransactionManagementError

from eventkit.errors import ConcurrencyError, UnsupportedConnection
from eventkit.storage.events.event_store import Append
from tests.storage.db.service_drivers import ALIAS, django_connection
from tests.storage.shop import ORDER, OTHER, Placed, order, store, written


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    """`connections["events"]`, outside of `atomic()`."""
    found = django_connection(database_url)
    yield found
    found.close()


def test_outside_of_atomic_an_append_is_refused_and_a_read_is_not(connection: Any, database_url: str) -> None:
    """Each statement would commit itself, without the service's rows."""
    with pytest.raises(UnsupportedConnection, match=r"'events' is outside of transaction.atomic\(\)"):
        store.append(connection, ORDER, Placed(1))
    assert list(store.read_all(connection)) == []
    with transaction.atomic(using=ALIAS):
        store.append(connection, ORDER, Placed(2))

    assert written(database_url) == {ORDER: [2]}


def test_an_atomic_block_of_another_alias_is_not_its_own(connection: Any, database_url: str) -> None:
    """`atomic()` without `using` is of the default database."""
    django.db.connections["default"] = django_connection(database_url)
    try:
        with transaction.atomic(), pytest.raises(UnsupportedConnection, match="'events' is outside of"):
            store.append(connection, ORDER, Placed(1))
    finally:
        django.db.connections["default"].close()
        del django.db.connections["default"]


def test_the_proxy_that_django_exports_is_taken(database_url: str) -> None:
    """`from django.db import connection`."""
    django.db.connections["default"] = django_connection(database_url)
    django.db.connections["default"].alias = "default"
    try:
        with transaction.atomic():
            store.append(django.db.connection, ORDER, Placed(1))
    finally:
        django.db.connections["default"].close()
        del django.db.connections["default"]

    assert written(database_url) == {ORDER: [1]}


def _append_and_fail(connection: Any) -> None:
    with transaction.atomic(using=ALIAS):
        store.append(connection, ORDER, Placed(2))
        raise ZeroDivisionError


def test_a_nested_block_takes_its_events_back(connection: Any, database_url: str) -> None:
    """Django's savepoints are PostgreSQL's; a conflict ends no block."""
    with transaction.atomic(using=ALIAS):
        store.append(connection, ORDER, Placed(1))
        with pytest.raises(ZeroDivisionError):
            _append_and_fail(connection)
        with pytest.raises(ConcurrencyError):
            store.append_many(connection, [Append(OTHER, [Placed(9)]), Append(ORDER, [Placed(9)], expected=7)])
        store.append(connection, ORDER, Placed(3), expected=1)

    assert written(database_url) == {ORDER: [1, 3]}


def test_a_block_that_django_knows_to_be_broken_takes_no_event(connection: Any, database_url: str) -> None:
    """As Django refuses its own queries there."""
    with transaction.atomic(using=ALIAS):
        with pytest.raises(DatabaseError), transaction.atomic(using=ALIAS, savepoint=False):
            connection.cursor().execute("select 1/0")
        with pytest.raises(TransactionManagementError):
            store.append(connection, ORDER, Placed(1))

    assert written(database_url) == {}


def test_where_django_leaves_transactions_alone_the_service_has_its_own(connection: Any, database_url: str) -> None:
    """`AUTOCOMMIT: False`, or `set_autocommit(False)`."""
    transaction.set_autocommit(False, using=ALIAS)
    store.append(connection, ORDER, Placed(1))
    transaction.rollback(using=ALIAS)
    store.append(connection, OTHER, Placed(2))
    transaction.commit(using=ALIAS)

    assert written(database_url) == {OTHER: [2]}


async def test_an_asynchronous_function_names_its_synchronous_twin(connection: Any) -> None:
    """Django's connections are synchronous, within `sync_to_async` too."""
    with pytest.raises(UnsupportedConnection, match=r"is synchronous: call `append\(…\)`"):
        await store.append_async(connection, ORDER, Placed(1))


def test_another_database_or_driver_of_djangos_is_refused(connection: Any, database_url: str) -> None:
    """SQLite, and psycopg2, which Django takes where psycopg 3 is not installed."""
    with pytest.raises(UnsupportedConnection, match="is to sqlite: eventkit needs PostgreSQL"):
        store.append(django_connection(database_url, "django.db.backends.sqlite3"), ORDER, Placed(1))
    connection.connection = psycopg2.connect(database_url)
    with pytest.raises(UnsupportedConnection, match=r"runs on a psycopg2\S+: install psycopg 3"):
        store.append(connection, ORDER, Placed(1))


def test_djangos_own_queries_see_appended_events(connection: Any, database_url: str) -> None:
    """Both are in one transaction, in both directions."""
    with psycopg.connect(database_url) as other:
        other.execute("create table orders (id int)")
    with transaction.atomic(using=ALIAS), connection.cursor() as cursor:
        cursor.execute("insert into orders values (%s)", [1])
        store.append(connection, order(1), Placed(1))
        cursor.execute("select stream, (select count(*) from orders) from eventkit.events")
        assert cursor.fetchall() == [("order-1", 1)]
