"""The name of a stream: a category and an id with a hyphen between them, `order-42`.

The category names the kind of thing and the topic (`<catalog>.<category>`), so it is made of what every broker
allows in a topic. The id is the user's: anything readable. What breaks these rules is refused here, before it reaches
a key, a header or a row.
"""

import re
from typing import Self
from uuid import UUID

from eventkit.errors import InvalidStreamId

_UNREADABLE = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"  # control characters, line separators, lone surrogates
_CATEGORY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEY = re.compile(rf"[^{_UNREADABLE}]{{1,200}}")
_STREAM = re.compile(rf"{_CATEGORY.pattern}-{_KEY.pattern}")


class StreamId(str):
    """The id of a stream, checked. It is a string, so it can be used wherever its text can."""

    __slots__ = ()

    def __new__(cls, category: str, key: str | int | UUID) -> Self:
        """Build an id from its two parts, or raise InvalidStreamId."""
        return super().__new__(cls, f"{check_category(category)}-{_check_key(key)}")

    def __getnewargs__(self) -> tuple[str, str]:
        """Let copy and pickle build it again."""
        return self.category, self.key

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id from its text, `category-id`, or raise InvalidStreamId."""
        if isinstance(text, str) and _STREAM.fullmatch(text):
            return str.__new__(cls, text)
        msg = f"{text!r} is no stream id: a stream id is `category-id`, {_CATEGORY_RULE}, {_KEY_RULE}"
        raise InvalidStreamId(msg)

    @property
    def category(self) -> str:
        """The part before the first hyphen."""
        return self.partition("-")[0]

    @property
    def key(self) -> str:
        """The part after the first hyphen."""
        return self.partition("-")[2]


_CATEGORY_RULE = "the category 1 to 64 of a-z, 0-9 and _ beginning with a letter"
_KEY_RULE = "the id 1 to 200 characters without control characters, line separators and lone surrogates"


def check_category(category: str) -> str:
    """Return the category if it keeps the rule, or raise InvalidStreamId."""
    if isinstance(category, str) and _CATEGORY.fullmatch(category):
        return category
    msg = f"stream category {category!r} breaks the rule: {_CATEGORY_RULE}"
    raise InvalidStreamId(msg)


def _check_key(key: str | int | UUID) -> str:
    text = str(key) if isinstance(key, int | UUID) and not isinstance(key, bool) else key
    if isinstance(text, str) and _KEY.fullmatch(text):
        return text
    shown = repr(key) if len(repr(key)) <= 240 else f"{repr(key)[:240]}… ({len(text)} characters)"
    msg = f"stream id {shown} breaks the rule: {_KEY_RULE}; text, an integer or a UUID"
    raise InvalidStreamId(msg)
