"""Releases of one service, whose event changes from one to the next."""

from dataclasses import dataclass
from typing import Annotated

from eventkit import Catalog, Personal


def release(cls: type, *, version: int = 1, name: str = "depot") -> Catalog:
    """Return a catalog with the class as its type `Stored`."""
    catalog = Catalog(name)
    catalog.event(name="Stored", version=version, oldest=version)(cls)
    return catalog


@dataclass(frozen=True)
class Place:
    """A part of an event."""

    hall: str
    beside: "Place | None" = None


@dataclass(frozen=True)
class Stored:
    """The first release."""

    item: str
    amount: int
    place: Place | None = None


@dataclass(frozen=True)
class Noted:
    """With a field that readers may miss."""

    item: str
    amount: int
    place: Place | None = None
    note: str = ""


@dataclass(frozen=True)
class Weighed:
    """With a field that readers need."""

    item: str
    amount: int
    weight: float
    place: Place | None = None


@dataclass(frozen=True)
class Renamed:
    """With a field of another type, and personal data."""

    item: str
    amount: str
    keeper: Annotated[str, Personal(subject="item", kind="keeper")]


first = release(Stored)
noted = release(Noted)
weighed = release(Weighed)
renamed = release(Renamed)
