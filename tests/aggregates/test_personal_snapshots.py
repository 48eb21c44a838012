"""Snapshots of people: personal data in their state is sealed as in the events, and forgotten with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import psycopg
import pytest

from eventkit import Decider, EventStore, Personal, Privacy, Repository, Snapshots
from eventkit.aggregates.decider import Deciding
from eventkit.errors import AggregateError
from tests.storage.people import ADA, CANARY, MASTERS, REGISTERED, Counted, Registered, crm


@dataclass(frozen=True)
class Customer:
    """The facts known about a customer."""

    name: Annotated[str, Personal()] = ""
    visits: int = 0


@dataclass(frozen=True)
class Visits:
    """Facts that identify nobody."""

    visits: int = 0


def evolve(state: Customer, event: Registered | Counted) -> Customer:
    """Fold."""
    if isinstance(event, Registered):
        return Customer(event.name, state.visits)
    return Customer(state.name, state.visits + event.n)


def visit(command: int, _state: object) -> list[Counted]:
    """Decide."""
    return [Counted(command)]


def count(state: Visits, event: Registered | Counted) -> Visits:
    """Fold the facts that belong to no subject."""
    return Visits(state.visits + (event.n if isinstance(event, Counted) else 0))


customer = Decider(Customer, visit, evolve)
Customers = Repository[Deciding[int, Customer]]


def customers(masters: bool = True) -> Customers:  # noqa: FBT001, FBT002 a parameter of the tests
    """Return the customers as a process of its own has them, with a snapshot at each save."""
    store = EventStore(crm, master_keys=MASTERS if masters else None)
    return Repository(store, customer, category="customer", snapshots=Snapshots(every=1))


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A database with a customer, and a snapshot of him."""
    with psycopg.connect(database_url) as connection:
        EventStore(crm, master_keys=MASTERS).append(connection, ADA, REGISTERED)
        visits(connection, customers())
        yield connection


def visits(connection: psycopg.Connection, known: Customers) -> None:
    """Visit once more."""
    with known.change(connection, ADA) as one:
        one.decide(1)


def state(connection: psycopg.Connection, known: Customers) -> Customer:
    """Load the customer."""
    return known.load(connection, ADA).state


def snapshot(connection: psycopg.Connection) -> tuple[int, str]:
    """Return the stored snapshot."""
    row = connection.execute("select version, state::jsonb::text from eventkit.snapshots").fetchone()
    assert row is not None
    return row[0], row[1]


def test_a_snapshot_holds_personal_data_sealed_and_is_read_with_the_key(connection: psycopg.Connection) -> None:
    """Nothing but the snapshot is read where there is one."""
    version, text = snapshot(connection)
    connection.execute("update eventkit.snapshots set state = jsonb_set(state::jsonb, '{visits}', '7')::json")

    assert (version, CANARY in text, '"customer-42": {"key"' in text) == (2, False, True)
    assert state(connection, customers()) == Customer(REGISTERED.name, 7)


def test_a_snapshot_of_somebody_who_was_forgotten_is_not_used(connection: psycopg.Connection) -> None:
    """The state is that of the events: redacted; the next snapshot holds that."""
    connection.execute("update eventkit.snapshots set state = jsonb_set(state::jsonb, '{visits}', '7')::json")
    Privacy(EventStore(crm)).forget(connection, ADA)

    assert state(connection, customers()) == Customer("[redacted]", 1)
    visits(connection, customers())

    assert snapshot(connection) == (3, '{"name": "[redacted]", "visits": 2}')


def test_who_has_no_keys_neither_uses_nor_keeps_a_snapshot(connection: psycopg.Connection) -> None:
    """His state is redacted, which must not become another's."""
    before = snapshot(connection)

    visits(connection, customers(masters=False))

    assert state(connection, customers(masters=False)) == Customer("[redacted]", 2)
    assert snapshot(connection) == before
    assert state(connection, customers()) == Customer(REGISTERED.name, 2)


def test_a_snapshot_does_not_wait_for_a_forget(connection: psycopg.Connection, database_url: str) -> None:
    """A save that needs no key continues; the snapshot is left for the next one."""
    known = customers()
    loaded = known.load(connection, ADA)
    connection.commit()
    with psycopg.connect(database_url) as forgetting:
        Privacy(EventStore(crm)).forget(forgetting, ADA)
        loaded.decide(1)

        assert known.save(connection, loaded)
    assert snapshot(connection)[0] == 2


def test_a_state_that_may_hold_personal_data_must_say_where() -> None:
    """Marked, or declared to hold none; otherwise a snapshot would keep it in plain text."""
    store = EventStore(crm, master_keys=MASTERS)
    plain = Decider(Visits, visit, count)

    with pytest.raises(AggregateError, match="may hold personal data of Registered, and a snapshot would keep it"):
        Repository(store, plain, category="customer", snapshots=Snapshots(every=1))
    Repository(store, plain, category="customer")
    Repository(store, plain, category="customer", snapshots=Snapshots(every=1, impersonal=True))
