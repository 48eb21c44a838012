"""The members of JSON objects that eventkit itself reads: headers, structured events, metadata.

JSON leaves open which of two members with one name counts, and readers differ. So an object with a name that is there
twice cannot be read. An event's data is not looked at: the last member counts there, in every codec as in jsonb.
"""

import json
from collections import Counter
from typing import Any

import msgspec

from eventkit.domain.header_values import shown

_object: Any = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_pairs = json.JSONDecoder(object_pairs_hook=list, parse_int=str, parse_float=str, parse_constant=str).decode


def members(text: bytes | str) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object.

    Raises ValueError if a name is there twice; MsgspecError, UnicodeError or RecursionError for any other text.
    """
    found: dict[str, msgspec.Raw] = _object(text)
    # Each member has the two quotes of its name and those of its value. More of them are in a second member with the
    # same name, or in a name with a quote in it. Counting is ten times as fast as a list of all members.
    quotes = 2 * len(found) + sum(bytes(value).count(b'"') for value in found.values())
    if quotes != (text.count('"') if isinstance(text, str) else text.count(b'"')):
        _refuse_repeated(text)
    return found


def _refuse_repeated(text: bytes | str) -> None:
    pairs: Any = _pairs(text if isinstance(text, str) else text.decode())
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"the name {shown(repeated[0])} is there twice")
