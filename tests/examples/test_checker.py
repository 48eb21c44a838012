"""The demo's judge can fail: each kind of damage to a topic is reported by its name."""

import uuid

import msgspec
import pytest

from eventkit.domain.envelope import EncodedEvent
from examples.flights.checker import Checker, Findings, digest


def flown(stream: str, version: int) -> EncodedEvent:
    """Return an event of a flight."""
    return EncodedEvent(
        id=str(uuid.uuid4()),
        source="flights",
        stream=stream,
        version=version,
        type="FlightDeparted",
        data=f'{{"delay": {version}, "carrier": "UA"}}',
        time="2013-01-01T00:00:00Z",
    )


@pytest.fixture
def committed() -> list[EncodedEvent]:
    """Two flights of three events each."""
    return [flown(stream, version) for stream in ("flight-a", "flight-b") for version in (1, 2, 3)]


def judged(delivered: list[EncodedEvent], committed: list[EncodedEvent]) -> Findings:
    """Let the checker judge a topic's deliveries."""
    checker = Checker()
    for event in delivered:
        checker.delivered(event)
    return checker.compare(
        (event.id, digest(event.stream, event.version, event.type, event.data)) for event in committed
    )


def test_a_topic_with_every_event_once_and_in_order_has_nothing_to_report(committed: list[EncodedEvent]) -> None:
    """A correct topic is found correct."""
    findings = judged(committed, committed)

    assert findings == Findings(published=6, lost=0, phantom=0, reordered=0, duplicates=0)


def test_an_event_that_never_came_is_lost(committed: list[EncodedEvent]) -> None:
    """A hole in a stream is a loss, and no disorder."""
    findings = judged([*committed[:1], *committed[2:]], committed)

    assert findings == Findings(published=5, lost=1, phantom=0, reordered=0, duplicates=0)


def test_the_last_event_of_a_stream_can_be_lost_too(committed: list[EncodedEvent]) -> None:
    """No later version is needed to see it."""
    findings = judged(committed[:-1], committed)

    assert findings == Findings(published=5, lost=1, phantom=0, reordered=0, duplicates=0)


def test_an_event_that_nobody_committed_is_a_phantom(committed: list[EncodedEvent]) -> None:
    """A rolled-back try has an id of its own, at the place of the event that was committed."""
    findings = judged([flown("flight-a", 1), *committed], committed)

    assert findings == Findings(published=6, lost=0, phantom=1, reordered=0, duplicates=0)


def test_an_event_with_other_data_than_committed_is_lost_and_a_phantom(committed: list[EncodedEvent]) -> None:
    """The id alone does not make it the event that was committed."""
    changed = msgspec.structs.replace(committed[1], data='{"delay": 99, "carrier": "UA"}')

    findings = judged([committed[0], changed, *committed[2:]], committed)

    assert findings == Findings(published=5, lost=1, phantom=1, reordered=0, duplicates=0)


def test_an_event_that_first_comes_after_a_later_one_is_out_of_order(committed: list[EncodedEvent]) -> None:
    """Two events of one stream swapped are one disorder."""
    swapped = [committed[1], committed[0], *committed[2:]]

    findings = judged(swapped, committed)

    assert findings == Findings(published=6, lost=0, phantom=0, reordered=1, duplicates=0)


def test_order_between_streams_does_not_matter(committed: list[EncodedEvent]) -> None:
    """Only a stream's own order is promised."""
    findings = judged([*committed[3:], *committed[:3]], committed)

    assert findings.reordered == 0


def test_a_repeat_is_a_duplicate_and_no_disorder(committed: list[EncodedEvent]) -> None:
    """A relay that was killed may send again from an earlier version on."""
    findings = judged([*committed, *committed[:2]], committed)

    assert findings == Findings(published=6, lost=0, phantom=0, reordered=0, duplicates=2)


def test_data_is_compared_as_json_not_as_text(committed: list[EncodedEvent]) -> None:
    """PostgreSQL's jsonb has its own order of keys and its own spaces."""
    respelled = msgspec.structs.replace(committed[0], data='{"carrier":"UA","delay":1}')

    findings = judged([respelled, *committed[1:]], committed)

    assert findings.published == 6
