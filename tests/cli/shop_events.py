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
