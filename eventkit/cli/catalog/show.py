"""`eventkit catalog show`: the messages that each topic carries."""

import json
from typing import TYPE_CHECKING, Any

import click

from eventkit.cli.catalog.options import CATALOG, EXAMPLES, load_catalog
from eventkit.cli.common.output import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventkit.domain.catalog import Catalog, EventType

_ANY, _NONE = "any topic", "no topic"


@click.command(name="show", epilog=EXAMPLES, short_help="Show the messages that each topic carries.")
@CATALOG
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
def show(path: str, *, as_json: bool) -> None:
    """Show the types of a catalog by the topic that carries them.

    A type without a category may be in any topic of its service. The types of a category without a topic go to no
    broker.
    """
    catalog = load_catalog(path)
    by_topic = {topic: [_plain(kind) for kind in kinds] for topic, kinds in catalog.messages.items()}
    anywhere, nowhere = _without_topic(catalog)
    if as_json:
        say(json.dumps({"catalog": catalog.name, "topics": by_topic, "any_topic": anywhere, "no_topic": nowhere}))
    else:
        _print({**by_topic, **({_ANY: anywhere} if anywhere else {}), **({_NONE: nowhere} if nowhere else {})})


def _without_topic(catalog: "Catalog") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the types that may be in any topic, and those that go to no broker."""
    others = [kind for kind in _sorted(catalog.types) if catalog.topic_of(kind) is None]
    silent = [kind for kind in others if kind.source == catalog.name and (kind.category or not catalog.published)]
    return [_plain(kind) for kind in others if kind not in silent], [_plain(kind) for kind in silent]


def _sorted(kinds: "Iterable[EventType]") -> "list[EventType]":
    return sorted(kinds, key=lambda kind: (kind.source, kind.name))


def _plain(kind: "EventType") -> dict[str, Any]:
    return {"type": kind.name, "version": kind.version, "source": kind.source, "category": kind.category}


def _print(by_topic: dict[str, list[dict[str, Any]]]) -> None:
    from eventkit.cli.common.tables import add_row, new_table
    from eventkit.cli.common.tables import show as show_table

    table = new_table("topic", "message", "version", "source", right=["version"])
    for topic, kinds in by_topic.items():
        for nth, kind in enumerate(kinds):
            add_row(table, "" if nth else topic, kind["type"], kind["version"], kind["source"])
    show_table(table)
