"""Tags: short texts that an event carries, by which a decision finds it (`course:c1`, `student:s9`).

A tag is plain text in the database for as long as its events are there, and it is not forgotten with a person: it must
hold no personal data.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from eventkit.domain.codec import shown
from eventkit.errors import CatalogError, InvalidEvent

TagsOf = Callable[[Any], Iterable[str]]
"""Returns the tags of an event."""

LONGEST = 200  # characters


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags, each once, in order; InvalidEvent names the one that cannot be used."""
    if isinstance(tags, str):
        raise InvalidEvent(f"tags={tags!r} is one text: give a list, tags=[{tags!r}]")
    given = list(tags)
    for tag in given:
        _check_tag(tag)
    return tuple(sorted(set(given)))


def _check_tag(tag: object) -> None:
    if not isinstance(tag, str) or not 1 <= len(tag) <= LONGEST or not tag.isprintable():
        raise InvalidEvent(f"{shown(tag)} cannot be a tag: give 1 to {LONGEST} printable characters")


def tags_from(declared: TagsOf | Iterable[str] | None) -> TagsOf | None:
    """Return the function that a declaration stands for: one that is given, or `field:value` of the fields named."""
    if declared is None or callable(declared):
        return declared
    fields: list[Any] = [declared] if isinstance(declared, str) else list(declared)
    if not all(isinstance(name, str) and name.isidentifier() for name in fields):
        raise CatalogError(f"tags={declared!r}: give the names of fields, or a function of the event")
    getters = [(name, attrgetter(name)) for name in fields]
    return lambda event: [f"{name}:{value}" for name, get in getters if (value := get(event)) is not None]
