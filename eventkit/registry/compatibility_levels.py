"""The changes that a registry's compatibility levels forbid, by subject, and the consumers that they would break.

    BACKWARD   new consumers read old events
    FORWARD    old consumers read new events
    FULL       both; with _TRANSITIVE against all versions, otherwise against the newest
    NONE       no rule

The registry decides. eventkit's own comparison names the fields, and also finds a change that a registry overlooks.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from eventkit.domain.catalog import problems
from eventkit.registry.client import RegisteredVersion, SchemaRegistry
from eventkit.registry.subjects import PlannedSchema

_NEW_READERS, _OLD_READERS = "new consumers cannot read old events", "old consumers cannot read new events"
_BOTH = "consumers cannot read all events"


class SchemaChange(NamedTuple):
    """A change that a compatibility level forbids."""

    subject: str
    type: str
    level: str
    broken: str  # who cannot read
    version: int  # of the subject, the newest that the change breaks with
    id: int
    problem: str

    def __str__(self) -> str:
        return f"{self.subject} is {self.level}, and {self.problem} (version {self.version}, id {self.id})"


def schema_changes(registry: SchemaRegistry, planned: Iterable[PlannedSchema]) -> list[SchemaChange]:
    """Return the forbidden changes; a schema that is registered already, or whose subject is new, has none."""
    return [change for each in planned for change in _changes(registry, each)]


def _changes(registry: SchemaRegistry, planned: PlannedSchema) -> Iterator[SchemaChange]:
    numbers = registry.versions(planned.subject)
    if not numbers:
        return
    newest = registry.version(planned.subject, numbers[-1])
    level = registry.level(planned.subject)
    if newest.schema == planned.schema or level == "NONE":
        return
    is_transitive = level.endswith("_TRANSITIVE")
    older = [registry.version(planned.subject, number) for number in reversed(numbers[:-1])] if is_transitive else []
    found: dict[tuple[str, str], SchemaChange] = {}
    for version in (newest, *older):
        for broken, problem in _problems(level, planned, version):
            change = SchemaChange(
                planned.subject, planned.kind.name, level, broken, version.number, version.id, problem
            )
            found.setdefault((broken, problem), change)
    yield from found.values()
    if not found and not registry.is_compatible(planned.subject, planned.text, level=level):
        problem = (
            "the registry refuses the schema, although eventkit finds no field that breaks; under BACKWARD and FULL, "
            "registries refuse each new field of a schema that allows other fields"
        )
        yield SchemaChange(planned.subject, planned.kind.name, level, _broken(level), newest.number, newest.id, problem)


def _problems(level: str, planned: PlannedSchema, version: RegisteredVersion) -> Iterator[tuple[str, str]]:
    new, old = planned.schema, version.schema
    if level.startswith(("BACKWARD", "FULL")):
        yield from ((_NEW_READERS, problem) for problem in problems(new, old))
    if level.startswith(("FORWARD", "FULL")):
        yield from ((_OLD_READERS, problem) for problem in problems(old, new, omitted=planned.kind.omitted))


def _broken(level: str) -> str:
    directions: dict[str, Any] = {"BACKWARD": _NEW_READERS, "FORWARD": _OLD_READERS}
    return str(directions.get(level.partition("_")[0], _BOTH))
