"""Any interleaving of everything, on a real PostgreSQL: read models are the fold, and at every moment a prefix.

EVENTKIT_EXAMPLES=500 runs longer, shrinks its findings, and meets all mutants.
"""

import os
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from eventkit.domain.message import Message
from eventkit.projection.apply.stream_repair import RepairTransaction
from eventkit.projection.batch import Source
from eventkit.projection.rebuild.swap import Swap
from eventkit.projection.retry_policy import Backoff
from eventkit.projection.run import sources
from eventkit.projection.run.projector import Projector
from eventkit.relay import pipeline
from eventkit.storage.dead_letters.letters import DeadLetters
from eventkit.storage.dead_letters.redrive import Redrives
from eventkit.storage.outbox.parking import RelayParking
from eventkit.storage.outbox.settlement import Settlement
from eventkit.transports.local.publisher import LocalPublisher
from tests.everything.machine import Everything
from tests.everything.pipeline import hooked
from tests.servers.postgres import PostgresServer

EXAMPLES = int(os.environ.get("EVENTKIT_EXAMPLES", "0"))
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _impatient(postgres: PostgresServer, monkeypatch: Patch) -> None:
    """Nobody pauses, and a sender may be met before it settles."""
    monkeypatch.setattr(Everything, "server", postgres, raising=False)
    monkeypatch.setattr(Backoff, "pause", lambda *_: 0.0)
    monkeypatch.setattr(Settlement, "settle", hooked(lambda: Everything.sender))
    for name in ("RECEIVE_WAIT", "GATHER_TIME", "SMALL_BATCH_PAUSE"):
        monkeypatch.setattr(sources, name, 0.0)
    for name in ("_IDLE_REPORT_INTERVAL", "_SETTLE_INTERVAL"):
        monkeypatch.setattr(pipeline, name, 0.002)


def run(examples: int, *, shrinks: bool = False) -> None:
    """Run so many examples."""
    run_state_machine_as_test(
        Everything,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=not EXAMPLES,  # the long form looks for new ones
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        ),
    )


@pytest.mark.timeout(3_000 if EXAMPLES else 900)
def test_any_interleaving_ends_with_the_fold_and_is_a_prefix_at_every_moment() -> None:
    """Appends, savepoints, rollbacks, deaths, redeliveries, zombies, parks, redrives and rebuilds, in any order."""
    run(EXAMPLES or 5, shrinks=bool(EXAMPLES))


def park_without_keeping(patch: Patch) -> None:
    """Keep no letter of parked events."""
    patch.setattr(DeadLetters, "keep", lambda *_: 0)


def keep_nothing_behind(patch: Patch) -> None:
    """Drop events that come while their stream is parked."""
    patch.setattr(RepairTransaction, "keep_behind", lambda *_: None)


def swap_without_comparing(patch: Patch) -> None:
    """Swap in the shadow without comparing."""
    patch.setattr(Swap, "_catch_up", lambda *_: 0)


def acknowledge_first(patch: Patch) -> None:
    """Acknowledge a batch before it is applied."""

    def step(self: Projector, source: Source) -> int:
        messages = source.receive()
        source.acknowledge(messages)
        self.apply(messages)
        return len(messages)

    patch.setattr(Projector, "step", step)


def settle_what_is_refused(patch: Patch) -> None:
    """Take a refused event for sent, and continue behind it."""
    patch.setattr(RelayParking, "park", lambda self, position, _: self._settlement.settle([position]))


def confirm_what_is_lost(patch: Patch) -> None:
    """Confirm all sent messages, even lost ones."""

    def send(self: LocalPublisher, messages: Sequence[Message]) -> None:
        for message in messages:
            if not self._fails(message):
                self._broker.append(message)
            self._confirmed.append(message.tag)

    patch.setattr(LocalPublisher, "send", send)


def letters_that_stay(patch: Patch) -> None:
    """Keep the letters of redriven events."""
    patch.setattr(Redrives, "remove", lambda *_, **__: None)


SOON = [park_without_keeping, settle_what_is_refused]
LATE = [acknowledge_first, keep_nothing_behind, swap_without_comparing, confirm_what_is_lost, letters_that_stay]


@pytest.mark.parametrize("mutate", [*SOON, *(LATE if EXAMPLES else [])])
@pytest.mark.timeout(1_000)
def test_a_mutant_is_caught(mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """The machine can fail; the mutants that take it long are met where it runs long itself."""
    monkeypatch.setattr(Everything, "patience", 10.0)
    mutate(monkeypatch)

    with pytest.raises(AssertionError):
        run(max(EXAMPLES, 200))


def test_an_acknowledgement_before_the_effect_is_detected_at_once(monkeypatch: Patch) -> None:
    """A projector dies while it applies, and nobody delivers its acknowledged messages again."""
    acknowledge_first(monkeypatch)
    machine = Everything()
    try:
        for member in range(2):
            machine.projector_dies(0, member, 1, "applying")

        with pytest.raises(AssertionError, match="is acknowledged and lost"):
            machine.all_is_well()
    finally:
        machine.close()
