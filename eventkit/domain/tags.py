"""Tags: short texts of an event, by which a decision's query finds it (`course:c1`, `student:s9`).

A tag is plain text in the database as long as its event is stored. Forgetting a person does not remove it, so it must
hold no personal data.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from eventkit.domain.codec import shown
from eventkit.errors import CatalogError, InvalidEvent

TagsOf = Callable[[Any], Iterable[str]]
"""Returns the tags of an event."""

MAX_LENGTH = 200  # characters


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags, each once, sorted; raise InvalidEvent, which names the tag, if one cannot be used."""
    if isinstance(tags, str):
        raise InvalidEvent(f"tags={tags!r} is one text: give a list, tags=[{tags!r}]")
    given = list(tags)
    for tag in given:
        _check_tag(tag)
    return tuple(sorted(set(given)))


def _check_tag(tag: object) -> None:
    if not isinstance(tag, str) or not 1 <= len(tag) <= MAX_LENGTH or not tag.isprintable():
        raise InvalidEvent(f"{shown(tag)} cannot be a tag: give 1 to {MAX_LENGTH} printable characters")


def tags_from(declared: TagsOf | Iterable[str] | None) -> TagsOf | None:
    """Return the tag function of a declaration: the given one, or one that returns `field:value` for each field."""
    if declared is None or callable(declared):
        return declared
    fields: list[Any] = [declared] if isinstance(declared, str) else list(declared)
    if not all(isinstance(name, str) and name.isidentifier() for name in fields):
        raise CatalogError(f"tags={declared!r}: give the names of fields, or a function of the event")
    getters = [(name, attrgetter(name)) for name in fields]
    return lambda event: [f"{name}:{value}" for name, get in getters if (value := get(event)) is not None]
