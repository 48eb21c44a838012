"""With many streams the lag is an estimate: right to about a tenth, and marked as an estimate."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from benchmarks.insights_store import Sizes, fill
from eventkit.insights import Insights, ProjectionInsight
from eventkit.insights.dead_letters import letter_groups
from eventkit.insights.projections.projection_lag import _spans
from tests.servers.postgres import PostgresServer

EVENTS = 20_000  # one every 20 ms


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """Two thousand streams; four projections, of which two are behind and one has parked streams."""
    url = postgres.fresh()
    fill(url, Sizes(streams=2_000, events=EVENTS, letters=3_000))
    with psycopg.connect(url, autocommit=True) as filled:
        yield filled
    postgres.drop(url)


@pytest.fixture(scope="module")
def projections(connection: psycopg.Connection[Any]) -> dict[str, ProjectionInsight]:
    """The projections as a page shows them."""
    return {each.name: each for each in Insights(connection).projections().items}


@pytest.mark.parametrize(("number", "lag"), [(1, 0), (2, 500), (3, EVENTS // 10), (4, 0)])
def test_a_page_estimates_how_far_a_projection_is_behind(
    projections: dict[str, ProjectionInsight], number: int, lag: int
) -> None:
    """Events and age; events of parked streams do not count."""
    found = projections[f"projection_{number}"]

    assert found.lag_events is not None
    assert found.lag_events.value == pytest.approx(lag, rel=0.15)
    assert not found.lag_events.is_exact
    assert bool(found.lag_seconds) == bool(lag)


def test_a_single_projection_compares_more_events_one_by_one(connection: psycopg.Connection[Any]) -> None:
    """Twenty thousand streams, or the newest thousand events: here both numbers are exact."""
    for number, lag in ((2, 500), (3, EVENTS // 10)):
        found = Insights(connection).projection(f"projection_{number}")

        assert found is not None
        assert found.lag_events is not None
        assert (found.lag_events.value, found.lag_events.is_exact) == (lag, True)


def test_an_exact_page_counts_every_stream(connection: psycopg.Connection[Any]) -> None:
    """The estimate and the exact number are about the same."""
    found = [each.lag_events for each in Insights(connection).projections(exact=True).items[:12]]

    assert sorted(each.value for each in found if each is not None) == [0, 0, 500, EVENTS // 10]
    assert all(each.is_exact for each in found if each is not None)


def test_more_parked_streams_than_are_counted_are_an_estimate(projections: dict[str, ProjectionInsight]) -> None:
    """Here they are 200, which is below the limit, and exact."""
    parked = projections["projection_4"].parked_streams

    assert (parked.value, parked.is_exact) == (200, True)


def test_large_groups_of_dead_letters_are_estimated_by_a_sample(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of half of the pages: every group is there, each number is about right or counted."""
    exact = {(g.parked_by, g.cause, g.category): g.amount.value for g in Insights(connection).dead_letter_groups()}
    monkeypatch.setattr(letter_groups, "_PAGES", 40)

    found = Insights(connection).dead_letter_groups()

    assert {(g.parked_by, g.cause, g.category) for g in found} == exact.keys()
    assert any(not group.amount.is_exact for group in found)
    assert sum(group.amount.value for group in found) == pytest.approx(3_000, rel=0.9)


@pytest.mark.parametrize(("below", "lowest"), [(5, 1), (300, 1), (1, 1), (10_000_000, 1), (10_000_000, 9_999_000)])
def test_the_spans_cover_all_older_positions_once(below: int, lowest: int) -> None:
    """Without a hole or an overlap, in a number of samples that grows with the logarithm."""
    parts = sorted(_spans(below, lowest))

    ends = [low + size for low, size in parts]
    assert [low for low, _ in parts[1:]] == ends[:-1]
    assert not parts or (parts[0][0], ends[-1]) == (lowest, below)
    assert len(parts) <= 8 * 17
