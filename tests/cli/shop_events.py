"""A catalog for the tests of `eventkit catalog`, and things that are none."""

from dataclasses import dataclass

from eventkit import Catalog

shop = Catalog("shop")
broken = Catalog("shop")
none = 5


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    """In its first version."""

    customer: str


@broken.event(version=2, name="OrderPlaced")
@dataclass(frozen=True)
class Changed:
    """Without an upcaster."""

    customer: str


topics = Catalog("shop", topics={"draft": None})


@topics.event(category="order", version=2, oldest=2)
@dataclass(frozen=True)
class OrderPaid:
    """Of one category."""

    cents: int


@topics.event
@dataclass(frozen=True)
class Noted:
    """Of any category."""


@topics.event(category="draft")
@dataclass(frozen=True)
class Drafted:
    """Goes to no broker."""


@dataclass(frozen=True)
class InvoicePaid:
    """Another service's."""


topics.consumes("billing", "InvoicePaid", InvoicePaid, category="invoice")
