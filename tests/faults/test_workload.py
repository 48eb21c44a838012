"""The promises under fire: real writers, real relays that are killed and hung all the time, a real Kafka."""

import os
from pathlib import Path

import pytest

from tests.faults.run import Kafka, run

SECONDS = float(os.environ.get("EVENTKIT_FAULT_SECONDS", "30"))


@pytest.mark.timeout(SECONDS + 240)
def test_under_fire_nothing_is_lost_invented_or_reordered(database_url: str, kafka: Kafka, tmp_path: Path) -> None:
    """Under any writes and kills, the topic has each committed event, no other, in order."""
    outcome = run(database_url, kafka, tmp_path, seconds=SECONDS, seed=1)
    print(outcome)  # noqa: T201 the figures of the run, with -s

    assert outcome.verdict.clean, outcome
    assert outcome.verdict.written > 1_000
    assert outcome.trouble["relays killed"] >= 5
    assert outcome.trouble["relays hung"] >= 1
    assert outcome.trouble["backends stopped"] >= 50
