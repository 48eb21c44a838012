"""Breaking changes between two releases of a catalog: for old events, for old readers, and for people.

Old events stay in the store, and a rebuild reads them all. Old readers are consumers that still run when the new
release writes: other services, and this one's own projectors until they are updated. People are affected if a release
stops encrypting a personal field: its values stay in plain text for ever.
"""

from collections.abc import Iterable, Iterator

import msgspec

from eventkit.domain.catalog.catalog_export import Description, TypeDescription
from eventkit.domain.catalog.json_schema import problems


class Breaks(msgspec.Struct, frozen=True):
    """The breaking changes, a sentence each; `about` has the name of the type that a sentence is about."""

    old_events: list[str]
    old_readers: list[str]
    people: list[str] = []
    about: dict[str, str] = {}


def breaks(old: Description, new: Description) -> Breaks:
    """Compare an old description of a catalog with the new one."""
    if old.catalog != new.catalog:
        was = f"the catalog was {old.catalog!r} and is {new.catalog!r}: a catalog's name is the source of its events"
        return Breaks([f"{was}, and none of the old ones is found"], [f"{was}, and old readers receive nothing more"])
    found = Breaks([], list(_topics(old, new)))
    for kind in old.types:
        now = _successor(kind, new.types)
        for sentences, breaking in (
            (found.old_events, _for_old_events(old, kind, now)),
            (found.old_readers, _for_old_readers(old, kind, now)),
            (found.people, _for_people(old, kind, now)),
        ):
            for sentence in breaking:
                sentences.append(sentence)
                found.about[sentence] = kind.name
    return found


def _successor(kind: TypeDescription, types: Iterable[TypeDescription]) -> TypeDescription | None:
    return next((one for one in types if one.source == kind.source and kind.name in one.names), None)


def _for_old_events(old: Description, kind: TypeDescription, now: TypeDescription | None) -> Iterator[str]:
    name = kind.name
    if now is None:
        if kind.source == old.catalog:
            yield f"{name} is gone, and its events could not be read: keep its class, or name it in a renamed_from"
        return
    if lost := [former for former in kind.renamed_from if former not in now.names]:
        yield f"{name} is no longer known as {', '.join(lost)}, and events are stored under that: keep its renamed_from"
    if now.oldest > kind.oldest:
        lost_versions = _numbers(kind.oldest, min(now.oldest, kind.version + 1) - 1)
        advice = f"keep oldest={kind.oldest}"
        yield f"{name} is read from version {now.oldest} on, and events of {lost_versions} are there: {advice}"
    if now.version < kind.version:
        yield f"{name} went from version {kind.version} back to {now.version}, and events of {kind.version} are parked"
    if now.version == kind.version and kind.source == old.catalog:
        step = f"raise its version to {kind.version + 1} and register an upcaster from {kind.version}"
        for problem in problems(now.data, kind.data):
            yield f"{name} stays at version {kind.version}, but {problem} in old events: {step}"


def _for_old_readers(old: Description, kind: TypeDescription, now: TypeDescription | None) -> Iterator[str]:
    if now is None or kind.source != old.catalog:
        return
    name = kind.name
    if now.name != name:
        yield (
            f"{name} is recorded as {now.name}, which old readers do not know: they would pass its events by; "
            "update them first"
        )
    if kind.category and now.category and now.category != kind.category:
        yield (
            f"{name} was recorded in streams of category {kind.category!r} and is recorded in those of "
            f"{now.category!r}: readers of the one receive no more of its events"
        )
    if now.version > kind.version:
        yield (
            f"{name} is written in version {now.version}, old readers know up to {kind.version}: those that handle it "
            "park its streams until they are updated; update them first"
        )
    if now.version == kind.version:
        for problem in problems(kind.data, now.data, omitted=now.omitted):
            yield f"{name} stays at version {kind.version}, but for an old reader {problem} in new events"


def _for_people(old: Description, kind: TypeDescription, now: TypeDescription | None) -> Iterator[str]:
    if now is None or kind.source != old.catalog:
        return
    there = _fields(now)
    for field, whose in kind.personal.items():
        if field not in there:
            continue
        if field not in now.personal:
            yield (
                f"{kind.name} has personal data in {field!r} (of {whose}), and is to write it in plain text: data of a "
                "forgotten person stays readable in all new events; mark the field as Personal again"
            )
        elif now.personal[field] != whose:
            yield (
                f"{kind.name} has personal data of {whose} in {field!r}, and is to take it for that of "
                f"{now.personal[field]}: forgetting the one no longer reaches new events"
            )


def _fields(kind: TypeDescription) -> set[str]:
    """Return the names of the fields of a type's own events."""
    schema = kind.data
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    return set(schema.get("properties", ()))


def _topics(old: Description, new: Description) -> Iterator[str]:
    for category in sorted({*old.topics, *new.topics}):
        before, after = old.topic(category), new.topic(category)
        if before != after:
            went = "no broker" if before is None else f"topic {before!r}"
            go = "no broker" if after is None else repr(after)
            yield (
                f"streams of category {category!r} went to {went} and go to {go}: readers of the one do not get events "
                "of the other, and a stream in both has gaps in each"
            )


def _numbers(first: int, last: int) -> str:
    return f"version {first}" if first == last else f"versions {first} to {last}"
