"""Upcasters: each converts the data of one event type from a schema version to the next, from JSON to JSON.

Old events stay stored as they were recorded. Every reader (aggregate, projection, redrive) gets them through the
upcasters of their type. Events in the current version are decoded without this module. The catalog checks before its
first use that no upcaster is missing.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import msgspec

from eventkit.domain.catalog.event_type import EventType
from eventkit.domain.codec import MEMBER, sentence, shown
from eventkit.domain.functions import name_of, refusal, wrong_parameters
from eventkit.errors import CatalogError, UndecodableEvent

Data = dict[str, Any]
Upcaster = Callable[[Data], Data]
Decode = Callable[[bytes | str], Any]

_object = msgspec.json.Decoder(dict[str, Any]).decode


class Upcasters:
    """The upcasters of one catalog."""

    def __init__(self) -> None:
        self._steps: dict[tuple[type, int], Upcaster] = {}
        self._decoders: dict[tuple[type, int], Decode] = {}

    def add(self, kind: EventType, from_version: int, upcaster: Upcaster) -> None:
        """Register the upcaster from a version to the next; raise CatalogError if it is not the only one."""
        if type(from_version) is not int or from_version not in kind.older:
            known = f"{kind.oldest} to {kind.version - 1}" if kind.older else "none, it is in its first"
            raise CatalogError(f"{kind} cannot be upcast from version {from_version!r}: its older versions are {known}")
        if (kind.cls, from_version) in self._steps:
            raise CatalogError(f"{kind} has an upcaster from version {from_version} already: a step has one way")
        if not callable(upcaster):
            raise CatalogError(f"the upcaster of {kind} from version {from_version} is {upcaster!r}, not a function")
        if wrong := refusal(upcaster) or wrong_parameters(upcaster, (1,)):
            raise CatalogError(f"the upcaster of {kind} from version {from_version}, {name_of(upcaster)}, {wrong}")
        self._steps[kind.cls, from_version] = upcaster
        self._decoders.clear()

    def missing(self, kind: EventType) -> list[int]:
        """Return the older versions without an upcaster."""
        return [version for version in kind.older if (kind.cls, version) not in self._steps]

    def steps(self, kind: EventType) -> list[Upcaster]:
        """Return the registered upcasters of a type, oldest version first."""
        return [self._steps[kind.cls, version] for version in kind.older if (kind.cls, version) in self._steps]

    def decoder(self, kind: EventType, version: int, decode: Decode) -> Decode:
        """Return the function that decodes JSON of an older version; `decode` decodes the current version."""
        known = self._decoders.get((kind.cls, version))
        if known is None:
            known = self._decoders[kind.cls, version] = self._decoder(kind, version, decode)
        return known

    def _decoder(self, kind: EventType, version: int, decode: Decode) -> Decode:
        if version < kind.oldest:
            raise UndecodableEvent(
                f"{kind} was written with schema version {version}, this code reads it from {kind.oldest} on: "
                "lower `oldest` and register upcasters"
            )
        steps = [(older, self._steps[kind.cls, older]) for older in range(version, kind.version)]

        def decode_older(data: bytes | str) -> Any:
            fields = _fields(kind, data)
            for older, step in steps:
                fields = _raised(kind, older, step, fields)
            return decode(msgspec.json.encode(fields))

        return decode_older


def changed_fields(*, defaults: Mapping[str, Any], renamed: Mapping[str, str], dropped: Iterable[str]) -> Upcaster:
    """Return an upcaster that renames fields (old name to new), drops some, and adds those with a default.

    Data that would have one name twice raises ValueError, because it is not known which value is meant.
    """
    gone, names, missing = frozenset(dropped), dict(renamed), deepcopy(dict(defaults))

    def upcaster(data: Data) -> Data:
        kept = [name for name in data if name not in gone]
        fields = {names.get(name, name): data[name] for name in kept}
        if len(fields) < len(kept):
            raise ValueError(_twice(kept, names))
        for name, value in missing.items():
            if name not in fields:
                fields[name] = deepcopy(value)  # a later step may change it: each event has its own
        return fields

    return upcaster


def _twice(kept: list[str], renamed: Mapping[str, str]) -> str:
    after = [renamed.get(name, name) for name in kept]
    old = next(name for name in kept if name in renamed and after.count(renamed[name]) > 1)
    return (
        f"the data has {old!r}, which is renamed to {renamed[old]!r}, and another field that is {renamed[old]!r} then: "
        "which one is meant is not known; write this step as a function with `upcast`, or drop one of them"
    )


def _fields(kind: EventType, data: bytes | str) -> Data:
    try:
        fields = _object(data)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise UndecodableEvent(f"{kind} cannot be made from {shown(data)}: {error}") from error
    fields.pop(MEMBER, None)  # the sealed values: no field of the class
    return fields


def _raised(kind: EventType, version: int, step: Upcaster, fields: Data) -> Data:
    try:
        raised = step(fields)
    except Exception as error:
        problem = f"{type(error).__name__}: {sentence(error)}"
        raise UndecodableEvent(f"the upcaster of {kind} from version {version} fails with {problem}") from error
    if not isinstance(raised, dict):
        raise UndecodableEvent(
            f"the upcaster of {kind} from version {version} returned {shown(raised)}: it must return a dict"
        )
    return raised
