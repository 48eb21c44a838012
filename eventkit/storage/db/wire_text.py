"""How anything that came over the wire is filed: as text that PostgreSQL takes, under a name that an index takes."""

import hashlib

LONGEST = 1_000  # bytes of a name: with the columns beside it, an index entry stays below the 2,704 bytes of a btree
_SURELY_SHORT = LONGEST // 4  # characters
_BEGINNING = 100  # characters of a name that is cut


def plain_text(text: str) -> str:
    """Return a text without what PostgreSQL and UTF-8 do not take: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def file_name(text: str) -> str:
    """Return a text as a name: itself, or its beginning and a digest where it is too long or has to be changed."""
    if len(text) <= _SURELY_SHORT and text.isprintable():
        return text
    plain = plain_text(text)
    if plain == text and len(text.encode()) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{plain[:_BEGINNING]}... sha256:{digest}"
