"""The entry point of all scenarios: the tested object, and the earlier events."""

from typing import Any, overload

from eventkit.aggregates import Aggregate, Decider, DecisionModel
from eventkit.domain.catalog import Catalog
from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConfigurationError
from eventkit.projection.define import Projection
from eventkit.testing.decision_models import ModelScenario
from eventkit.testing.decisions import DecisionScenario
from eventkit.testing.projections import Reading


@overload
def given(subject: type[Aggregate] | Decider[Any, Any], /, *events: object) -> DecisionScenario: ...
@overload
def given(subject: DecisionModel, /, *events: object, catalog: Catalog) -> ModelScenario: ...
@overload
def given(subject: Projection, /, *events: object, database: str, master_keys: MasterKeys | None = None) -> Reading: ...
def given(
    subject: Any,
    /,
    *events: object,
    catalog: Catalog | None = None,
    database: str | None = None,
    master_keys: MasterKeys | None = None,
) -> DecisionScenario | ModelScenario | Reading:
    """Begin a scenario with earlier events.

    A decision model is given as an object, `Enrolment("c1", "s9")`, with the `catalog` that has its events' types and
    tags; `at(stream, event, tags=[…])` adds tags.

    A projection, handlers or a process manager need the address of a `database` with eventkit's tables (the fixture
    `eventkit_database`). Their events may have a stream: `at(stream, event, …)`. Personal data in events that handlers
    append is decrypted with the `master_keys` of their store (the fixture `eventkit_master_keys`); without, it is
    redacted.
    """
    if isinstance(subject, DecisionModel):
        if catalog is None:
            raise ConfigurationError(
                f"{type(subject).__name__} reads events by their tags: given(…, catalog=…), the catalog of its events"
            )
        return ModelScenario(subject, events, catalog)
    if not isinstance(subject, Projection):
        return DecisionScenario(subject, events)
    if database is None:
        raise ConfigurationError(
            f"{subject.name} works in a database: given(…, database=eventkit_database), a fixture of this plugin"
        )
    return Reading(subject, events, database, master_keys)
