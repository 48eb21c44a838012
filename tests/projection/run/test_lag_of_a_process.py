"""The lag that a projector knows of its own shards, without its database."""

from datetime import UTC, datetime, timedelta

import pytest

from eventkit.domain.message import Message
from eventkit.projection.run.shard_times import ShardTimes


def message(age: float) -> Message:
    """Return a message that was recorded so many seconds ago."""
    at = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    return Message("shop.order", "order-1", b"{}", [("ce_time", at)])


def test_before_any_event_nothing_is_known() -> None:
    """A process without shards has no lag to show."""
    assert ShardTimes().lag_seconds() is None


def test_the_lag_is_the_age_of_the_last_applied_event() -> None:
    """While messages keep coming, the last one's age is the lag."""
    shards = ShardTimes()
    shards.applied([message(7200), message(3600)], from_store=True)

    assert shards.lag_seconds() == pytest.approx(3600, abs=600)


def test_a_process_that_has_read_all_has_no_lag() -> None:
    """When nothing more comes, the age of the last event does not count."""
    shards = ShardTimes()
    shards.applied([message(3600)], from_store=True)
    shards.applied([], from_store=True)

    assert shards.lag_seconds() == 0
