"""The incident: a system that is broken in five places, all of which attention names."""

import psycopg
import pytest

from eventkit.insights import Insights
from eventkit.insights.attention import relay_conditions
from examples.incident.system import broken_system

BACKLOG = 200
FIVE = {"part_without_relay", "outbox_old", "topic_held", "projection_without_process", "dead_letters"}
GONE = """update eventkit.processes set seen_at = seen_at - interval '1 min' where state -> 'projections' ? 'board'"""


def test_attention_names_the_five_causes_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small backlog, and without waiting for the silence of the dead projector."""
    monkeypatch.setattr(relay_conditions, "LARGE", BACKLOG)

    with broken_system(backlog=BACKLOG) as system, psycopg.connect(system.database_url, autocommit=True) as connection:
        connection.execute(GONE)
        found = {item.code: item for item in Insights(connection).attention()}

    assert found.keys() == FIVE
    assert "1 of 2" in found["part_without_relay"].title
    assert "(a forgotten session" in found["part_without_relay"].text
    assert found["part_without_relay"].action.startswith(
        """psql "$EVENTKIT_DATABASE_URL" -c 'select pg_terminate_backend("""
    )
    assert "See above: it has no relay" in found["outbox_old"].text
    assert found["topic_held"].action == "eventkit topics release shop.invoice"
    assert found["topic_held"].subject == "shop.invoice"
    assert found["projection_without_process"].subject == "board"
    assert found["projection_without_process"].action == "eventkit projector run examples.incident.shop:board"
    assert found["dead_letters"].subject == "totals/failed/order"
