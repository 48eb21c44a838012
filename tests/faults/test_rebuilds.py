"""The short form of `python -m tests.faults rebuilds`."""

from tests.faults.rebuilds import run


def test_a_rebuild_killed_five_times_under_appends_is_the_fold_and_readers_never_notice(database_url: str) -> None:
    """Five hundred appends a second, a projector beside it; no reader sees an error or a step back."""
    findings = run(database_url, seconds=0, rate=500, kills=5)

    assert findings.problems == []
    assert (findings.kills, findings.swaps > 0, findings.looks > 0) == (5, True, True)
