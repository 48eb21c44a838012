"""JSON values as YAML 1.2, in block style; texts are quoted as in JSON, so that no reader takes one for a number."""

import json
import re
from collections.abc import Iterator

_PLAIN_KEY = re.compile(r"[A-Za-z$][A-Za-z0-9_$.-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}  # which YAML 1.1 does not take for a text
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def yaml_text(value: object) -> str:
    """Return a JSON value as YAML; it ends with a newline."""
    return "\n".join(_lines(value, "")) + "\n"


def _lines(value: object, indent: str) -> Iterator[str]:
    if not value or not isinstance(value, dict | list):
        yield indent + _scalar(value)
        return
    if isinstance(value, list):
        for part in value:
            first, *others = _lines(part, indent + "  ")
            yield f"{indent}- {first.lstrip(' ')}"
            yield from others
        return
    for key, part in value.items():
        if part and isinstance(part, dict | list):
            yield f"{indent}{_key(key)}:"
            yield from _lines(part, indent + "  ")
        else:
            yield f"{indent}{_key(key)}: {_scalar(part)}"


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS else _scalar(key)


def _scalar(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
