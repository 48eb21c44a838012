"""The state of a projection in plain words."""

from datetime import UTC, datetime

from eventkit.insights.answers import ProjectionInsight, RelayInsight

_LATE = 10.0  # seconds: an event on its way through relay and broker is younger
_STANDS = 60.0  # seconds without any applied event
_APART = 5.0  # seconds between two answers that are shown together


def state_words(item: ProjectionInsight, relay: RelayInsight) -> str:
    """Return the state of a projection: paused, waiting, catching up, up to date, run by nobody, and so on."""
    states = (
        ("paused", item.paused is not None),
        ("nobody runs it", not item.run_by),
        ("waits", item.waits is not None),
        ("has applied nothing yet", item.lag_seconds is None),
        ("up to date", not item.lag_seconds),
        ("waits for the relay", _waits_for_relay(item, relay)),
        ("does not move", (item.lag_seconds or 0.0) > _STANDS and not item.rate),
    )
    return next((words for words, is_so in states if is_so), "catches up")


def _waits_for_relay(item: ProjectionInsight, relay: RelayInsight) -> bool:
    """Return whether the oldest event that a projection lacks is not sent to it."""
    if item.position is not None or relay.oldest_unsent_at is None:  # it reads the store, or all is sent
        return False
    unsent = (datetime.now(UTC) - relay.oldest_unsent_at).total_seconds()
    lag = item.lag_seconds or 0.0
    return lag > _LATE and unsent + _APART >= lag
