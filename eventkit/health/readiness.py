"""Whether a worker can do its work now: its database, the tables, its lease, its broker, each with the reason.

Nothing here runs on the worker's threads or connections, so a hung worker cannot silence it, and it cannot delay one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from eventkit.config import Settings
from eventkit.errors import SchemaMismatch, StorageError
from eventkit.health.kept_answer import KeptAnswer, Unanswered
from eventkit.storage.db import connect
from eventkit.storage.outbox import LeaseState, lease_states
from eventkit.transports import Transport, open_transport


class Condition(NamedTuple):
    """Whether one thing is as the worker needs it, and the reason."""

    ok: bool
    reason: str


Conditions = dict[str, Condition]
Check = Callable[[], Conditions]


class Readiness:
    """The checks of one process, in order."""

    def __init__(self, checks: Sequence[Check], answers: Sequence[KeptAnswer[Conditions]] = ()) -> None:
        """`answers` are asked together before the checks, so that a probe waits for the slowest one only."""
        self._checks = checks
        self._answers = answers

    def conditions(self) -> Conditions:
        """Return all conditions."""
        for answer in self._answers:
            answer.begin()
        return {name: condition for check in self._checks for name, condition in check().items()}


def readiness(settings: Settings, *, broker: bool, lease: bool) -> Readiness:
    """Return the checks of a worker; `broker` and `lease` say whether it needs one."""
    database: KeptAnswer[Conditions] = KeptAnswer(partial(_ask_database, settings))
    checks: list[Check] = [partial(_answered, database, ("database", "schema"))]
    answers = [database]
    if lease:
        checks.append(_check_lease)
    if broker:
        answers.append(KeptAnswer(_BrokerCheck(settings).ask))
        checks.append(partial(_answered, answers[-1], ("broker",)))
    return Readiness(checks, answers)


def _answered(answer: KeptAnswer[Conditions], names: Sequence[str]) -> Conditions:
    try:
        return answer.get()
    except Unanswered as error:
        return {name: Condition(ok=False, reason=str(error)) for name in names}


def _ask_database(settings: Settings) -> Conditions:
    schema = settings.schema
    try:
        with connect(settings.require_database(), name="health", schema=schema, autocommit=True) as connection:
            version = connection.info.server_version
            connection.execute("select 1")
    except SchemaMismatch as error:
        return {"database": Condition(ok=True, reason="it answers"), "schema": Condition(ok=False, reason=str(error))}
    except StorageError as error:
        unknown = Condition(ok=False, reason="unknown: the database cannot be used")
        return {"database": Condition(ok=False, reason=str(error)), "schema": unknown}
    return {
        "database": Condition(ok=True, reason=f"PostgreSQL {version // 10_000} answers"),
        "schema": Condition(ok=True, reason=f"the tables of {schema!r} are those of this release"),
    }


def _check_lease() -> Conditions:
    states = lease_states()
    if not states:
        return {"lease": Condition(ok=False, reason="no lease is held or waited for: the process is connecting")}
    reasons = ", ".join(_shown(state) for state in states)
    return {"lease": Condition(ok=all(state.is_held or not state.epoch for state in states), reason=reasons)}


def _shown(state: LeaseState) -> str:
    if state.is_held:
        return f"holds {state.name}, epoch {state.epoch}"
    return f"has lost {state.name}, epoch {state.epoch}" if state.epoch else f"stands by for {state.name}"


class _BrokerCheck:
    """Asks the broker over a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport: Transport | None = None

    def ask(self) -> Conditions:
        if self._transport is None:
            self._transport = open_transport(self._settings.require_transport(), self._settings.transport_options)
        return {"broker": Condition(ok=True, reason=f"{self._transport.check()} answers")}
