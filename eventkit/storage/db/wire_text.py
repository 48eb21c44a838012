"""Makes text from a message storable: text that PostgreSQL accepts, a name that fits into an index."""

import hashlib

MAX_NAME_BYTES = 1_000  # with the columns beside it, an index entry stays below the 2,704 bytes of a btree
_ALWAYS_SHORT = MAX_NAME_BYTES // 4  # characters
_KEPT_PREFIX = 100  # characters of a name that is cut


def plain_text(text: str) -> str:
    """Return a text with NUL and lone surrogates replaced, which PostgreSQL and UTF-8 do not accept."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def file_name(text: str) -> str:
    """Return a text as a name: unchanged, or its beginning and a digest where it is too long or not storable."""
    if len(text) <= _ALWAYS_SHORT and text.isprintable():
        return text
    plain = plain_text(text)
    if plain == text and len(text.encode()) <= MAX_NAME_BYTES:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{plain[:_KEPT_PREFIX]}... sha256:{digest}"
