"""The one way into all scenarios: what is tested, and what has happened before."""

from typing import Any, overload

from eventkit.aggregates.aggregate import Aggregate
from eventkit.aggregates.decider import Decider
from eventkit.errors import ConfigurationError
from eventkit.projection.projection import Projection
from eventkit.testing.decisions import Decision
from eventkit.testing.projections import Reading


@overload
def given(subject: type[Aggregate] | Decider[Any, Any], /, *events: object) -> Decision: ...
@overload
def given(subject: Projection, /, *events: object, database: str) -> Reading: ...
def given(subject: Any, /, *events: object, database: str | None = None) -> Decision | Reading:
    """Begin with what has happened.

    An aggregate class or a `Decider` needs no more. A projection, handlers or a process manager want the address of a
    `database` with eventkit's tables (the fixture `eventkit_database`); their events may say the stream: `at(stream,
    event, …)`.
    """
    if not isinstance(subject, Projection):
        return Decision(subject, events)
    if database is None:
        raise ConfigurationError(
            f"{subject.name} works in a database: given(…, database=eventkit_database), a fixture of this plugin"
        )
    return Reading(subject, events, database)
