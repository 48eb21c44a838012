"""The name of a stream: a category and an id with a hyphen between them, `order-42`.

The category names the kind of thing and the topic (`<catalog>.<category>`), so it has only characters that every broker
allows in a topic. The id is any readable text. Other names are refused here, before they reach a key, a header or a
row.
"""

import re
from typing import Self
from uuid import UUID

from eventkit.errors import InvalidStreamId

_UNREADABLE = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"  # control characters, line separators, lone surrogates
_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEY = re.compile(rf"[^{_UNREADABLE}]{{1,200}}")
_MAX_SHOWN = 240  # characters
_CATEGORY_RULE = "the category is 1 to 64 of a-z, 0-9 and _ and begins with a letter"
_KEY_RULE = "the id is text of 1 to 200 characters without control characters, line separators and lone surrogates"
_STREAM = re.compile(rf"{_CATEGORY.pattern}-{_KEY.pattern}")


class StreamId(str):
    """The id of a stream, checked; it is a string."""

    __slots__ = ()

    def __new__(cls, category: str, key: str | int | UUID) -> Self:
        """Return the id of a category and a key; raise InvalidStreamId if one of them breaks the rules."""
        if (
            type(category) is type(key) is str
            and "-" not in category
            and _STREAM.fullmatch(text := f"{category}-{key}")
        ):
            return str.__new__(cls, text)
        return super().__new__(cls, f"{check_category(category)}-{_check_key(key)}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.category, self.key)

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the id of a text `category-id`; raise InvalidStreamId if it is none."""
        if isinstance(text, str) and _STREAM.fullmatch(text):
            return str.__new__(cls, text)
        raise InvalidStreamId(f"{_shown(text)} is no stream id, `category-id`: {_CATEGORY_RULE}, {_KEY_RULE}")

    @property
    def category(self) -> str:
        """The part before the first hyphen."""
        return self.partition("-")[0]

    @property
    def key(self) -> str:
        """The part after the first hyphen."""
        return self.partition("-")[2]


def check_category(category: object) -> str:
    """Return the category; raise InvalidStreamId if it breaks the rule."""
    if isinstance(category, str) and _CATEGORY.fullmatch(category):
        return category
    raise InvalidStreamId(f"stream category {_shown(category)} breaks the rule: {_CATEGORY_RULE}")


def is_stream(text: str) -> bool:
    """Return whether text is a stream's id."""
    return _STREAM.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Return whether text can be the part of a stream's id after the category."""
    return _KEY.fullmatch(text) is not None


def _check_key(key: object) -> str:
    text = str(key) if isinstance(key, UUID) or type(key) is int else key
    if isinstance(text, str) and _KEY.fullmatch(text):
        return text
    raise InvalidStreamId(f"stream id {_shown(key)} breaks the rule: {_KEY_RULE}; an int or a UUID will do")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text)} characters)"
