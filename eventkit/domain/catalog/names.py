"""The rules for names in a catalog: its own name, sources, event types, categories and topics.

Names are sent in headers and used as keys of brokers, so a name that one of those would refuse or change is an error.
"""

import re
from collections.abc import Iterable
from typing import TypeVar

from eventkit.domain.stream import check_category
from eventkit.errors import CatalogError, InvalidEvent, InvalidStreamId

T = TypeVar("T")
_NAME = re.compile(r"[a-z](?:[a-z0-9_.-]{0,62}[a-z0-9_])?")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,199}")
_SOURCE = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,200}")  # a URI reference, as CloudEvents wants it
_TOPIC = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")


def check_name(name: object) -> str:
    """Return a catalog's name; raise CatalogError if it breaks the rule."""
    return _checked(name, _NAME, "catalog name", "1 to 64 of a-z, 0-9, `_`, `-` and `.`, beginning with a letter")


def check_type(name: object) -> str:
    """Return an event type's name; raise CatalogError if it breaks the rule."""
    rule = "1 to 200 of A-Z, a-z, 0-9, `_`, `.`, `:`, `/` and `-`, beginning with a letter"
    return _checked(name, _TYPE, "event type", rule)


def check_source(source: object) -> str:
    """Return the name of a source; raise CatalogError if it breaks the rule."""
    return _checked(source, _SOURCE, "source", "1 to 200 of the characters of a URI")


def check_topic(topic: object) -> str:
    """Return a topic's name; raise CatalogError if it breaks the rule."""
    return _checked(topic, _TOPIC, "topic", "1 to 249 of A-Z, a-z, 0-9, `.`, `_` and `-`, not beginning with a dot")


def category_of(category: object) -> str:
    """Return a category's name; raise CatalogError if it breaks the rule."""
    try:
        return check_category(category)
    except InvalidStreamId as error:
        raise CatalogError(str(error)) from error


def listed(name: str, given: Iterable[T]) -> tuple[T, ...]:
    """Return the values of an argument; raise InvalidEvent for one text or class, which is no list."""
    if isinstance(given, str | type):
        shown = given.__qualname__ if isinstance(given, type) else repr(given)
        raise InvalidEvent(f"{name}={shown} is one value: give a list, {name}=[{shown}]")
    return tuple(given)


def _checked(name: object, rule: re.Pattern[str], kind: str, sentence: str) -> str:
    if isinstance(name, str) and rule.fullmatch(name):
        return name
    raise CatalogError(f"{kind} {name!r} breaks the rule: {sentence}")
