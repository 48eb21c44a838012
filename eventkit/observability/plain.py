"""Text for a terminal or a log: what a stranger wrote can neither move the cursor nor begin a line of its own."""

import re

_UNPRINTABLE = re.compile(r"[^\n\t -~]")


def plain(text: str) -> str:
    r"""Return a text with control characters, and all others that print nothing, escaped as JSON has it: `\u001b`.

    Line breaks and tabs stay: the caller decides about them.
    """
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return a text on one line, its spaces and line breaks made one space each, and plain."""
    return plain(" ".join(text.split()))


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    if sign.isprintable():
        return sign
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))
