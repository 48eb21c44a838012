"""A registered event type: its source, its names, its schema versions and its class; checked when it is made."""

from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any

import msgspec

from eventkit.domain.catalog.names import category_of, check_type
from eventkit.domain.codec import is_pydantic
from eventkit.domain.tags import TagsOf
from eventkit.errors import CatalogError, InvalidEvent

MAX_SCHEMA_VERSION = 32_767


class EventType(msgspec.Struct, frozen=True):
    """A type: the catalog that records it, its name, its newest schema version and its class.

    `oldest` is the first schema version that can still occur; `renamed_from` are the names that it had before.
    `tags` returns the tags of an event; `category` is that of its streams, None if it may be in any.
    """

    source: str
    name: str
    version: int
    cls: type
    oldest: int = 1
    renamed_from: tuple[str, ...] = ()
    tags: TagsOf | None = None
    category: str | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            check_type(name)
        _check_version(self.name, self.version, MAX_SCHEMA_VERSION)
        _check_version(self.name, self.oldest, self.version)
        _check_class(self.cls)
        if self.category is not None:
            category_of(self.category)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that events of this type may have been stored under."""
        return (self.name, *self.renamed_from)

    @property
    def older(self) -> range:
        """The schema versions that need an upcaster."""
        return range(self.oldest, self.version)

    def check_stream(self, stream: str) -> None:
        """Raise InvalidEvent if the type belongs to another category than a stream."""
        if self.category not in (None, stream.partition("-")[0]):
            raise InvalidEvent(
                f"{self.name} belongs to streams of category {self.category!r}, as its catalog {self.source!r} says, "
                f"and not to {stream!r}, whose readers do not expect it: append it to a stream {self.category}-..., or "
                "register it without category="
            )

    def __str__(self) -> str:
        return f"{self.name!r} of {self.source!r}"


def names_before(renamed_from: str | Iterable[str]) -> tuple[str, ...]:
    """Return former names, from one name or several."""
    return (renamed_from,) if isinstance(renamed_from, str) else tuple(renamed_from)


def _check_version(name: str, version: object, highest: int) -> None:
    if type(version) is not int or not 1 <= version <= highest:
        raise CatalogError(
            f"event type {name!r} has the schema version {version!r}: it is a number from 1 to {highest}"
        )


def _check_class(cls: Any) -> None:
    if not isinstance(cls, type) or not (is_dataclass(cls) or issubclass(cls, msgspec.Struct) or is_pydantic(cls)):
        raise CatalogError(
            f"{cls!r} cannot be an event: make it a @dataclass(frozen=True), a msgspec.Struct or a Pydantic model"
        )
    if is_dataclass(cls) and not _is_frozen(cls):
        raise CatalogError(f"{cls!r} is not frozen, but what happened does not change: @dataclass(frozen=True)")


def _is_frozen(cls: Any) -> bool:
    return bool(cls.__dataclass_params__.frozen)
