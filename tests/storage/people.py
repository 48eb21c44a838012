"""A shop that knows its customers: events with personal fields of each kind, a store with keys and one without."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from eventkit import Catalog, EventStore, Personal
from eventkit.domain.master_keys import MasterKeys

CANARY = "canary-7f3a91"
MASTERS = MasterKeys.parse(f"{MasterKeys.generate('2026')},{MasterKeys.generate('2025')}")

crm = Catalog("crm")


@dataclass(frozen=True)
class Address:
    """A value that is personal as a whole."""

    street: str
    town: str


NOWHERE = Address("", "")


@crm.event
@dataclass(frozen=True)
class Registered:
    """A customer's own stream says who it is."""

    name: Annotated[str, Personal()]
    born: Annotated[dt.date, Personal(redacted=dt.date(1900, 1, 1))]
    credit: Annotated[Decimal, Personal(redacted=Decimal(0))] = Decimal(0)
    phone: Annotated[str | None, Personal()] = None
    plan: str = "free"


@crm.event
@dataclass(frozen=True)
class Ordered:
    """An order's field says who it is."""

    customer_id: int
    to: Annotated[Address, Personal(subject="customer_id", kind="customer", redacted=NOWHERE)]
    total: int = 0


@crm.event
@dataclass(frozen=True)
class Counted:
    """A count without a subject."""

    n: int


@crm.event
@dataclass(frozen=True)
class Forgotten:
    """A customer was forgotten: read models follow."""

    customer: str


store = EventStore(crm, master_keys=MASTERS)
keyless = EventStore(crm)
ADA = crm.stream("customer", 42)
ORDER = crm.stream("order", 1)
REGISTERED = Registered(f"Ada {CANARY}", dt.date(1815, 12, 10), Decimal("12.50"), f"+44 {CANARY}")
ORDERED = Ordered(42, Address(f"{CANARY} street", "London"), 5)
REDACTED = Registered("[redacted]", dt.date(1900, 1, 1), Decimal(0), None)
REDACTED_ORDER = Ordered(42, NOWHERE, 5)
