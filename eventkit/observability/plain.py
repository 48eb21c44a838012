"""Escape text for a terminal or a log, so that foreign data can neither move the cursor nor start a new line.

Characters that an output's encoding does not have are escaped in the same form, so JSON stays JSON in any locale.
"""

import codecs
import re

ESCAPE = "eventkit.escape"  # of `encode` and `open`: the error handler that escapes instead of failing
_UNPRINTABLE = re.compile(r"[^\n\t -~]")


def plain(text: str) -> str:
    r"""Return a text with all unprintable characters escaped in JSON's form, as `\u001b`.

    Line breaks and tabs stay: the caller decides about them.
    """
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return plain text on one line: each run of spaces and line breaks becomes one space."""
    return plain(" ".join(text.split()))


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    return sign if sign.isprintable() else _code(sign)


def _code(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _code(error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPE, _escape_unencodable)
