"""`eventkit events tree`: an event with its causes and its effects across streams."""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from eventkit.cli.common.output import remark, say, say_each
from eventkit.cli.search.options import EXAMPLES, JSON, PAYLOAD, no_event, opened
from eventkit.config import Settings

if TYPE_CHECKING:
    from eventkit.insights import CausedEvent, Insights

_MOST_CAUSES = 1_000


@click.command(name="tree", epilog=EXAMPLES, short_help="Show an event's effects across streams.")
@click.argument("event", metavar="ID")
@click.option("--from-first", is_flag=True, help="Begin with its first cause.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=200, show_default=True, help="Show that many events.")
@PAYLOAD
@JSON
@click.pass_obj
def tree(settings: Settings, event: str, *, from_first: bool, limit: int, payload: bool, as_json: bool) -> None:
    """Show an event and all events that it has caused, each with its own effects below it."""
    from eventkit.cli.search import rendering

    with opened(settings) as insights:
        root = _first_cause(insights, event) if from_first else event
        found = insights.causation_tree(root, limit=limit)
        if not found:
            raise no_event(event)
        nodes = (_in_full(insights, node) if payload else node for node in found)  # one payload in memory at a time
        if as_json:
            fields = ({"depth": node.depth, **rendering.fields(node.event, payload=payload)} for node in nodes)
            say_each(map(rendering.json_of, fields), before='{"events": [', between=", ")
            say("]}")
            return
        for node in nodes:
            say(_line(node, payload=payload))
    if len(found) == limit:
        remark(f"... that is the limit of {limit}; there may be more (--limit)")


def _first_cause(insights: "Insights", event_id: str) -> str:
    """Return the id of the event at the beginning of the chain of causes, as far as this store has it."""
    seen: set[str] = set()
    while event_id not in seen and len(seen) < _MOST_CAUSES:
        seen.add(event_id)
        found = insights.event(event_id)
        if found is None or found.causation_id is None or insights.event(found.causation_id) is None:
            break
        event_id = found.causation_id
    return event_id


def _in_full(insights: "Insights", node: "CausedEvent") -> "CausedEvent":
    event = insights.event(node.event.id, payload=True)
    return node if event is None else replace(node, event=replace(event, is_amended=None, is_unsent=None))


def _line(node: "CausedEvent", *, payload: bool) -> str:
    from eventkit.cli.search import rendering

    event = node.event
    text = f"{'  ' * node.depth}{event.type}  {event.stream} {event.version}  {rendering.at(event)}  {event.id}"
    return f"{text}  {rendering.json_of(rendering.fields(event, payload=True).get('data'))}" if payload else text
