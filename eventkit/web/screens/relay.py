"""The relay, or Debezium in its place: who sends, who leads each part, unsent events, held and paused topics."""

from starlette.responses import Response

from eventkit.insights import publisher_words
from eventkit.web.visit import Visit

_SHOWN = ("no_relay", "part_without_relay", "debezium_stands", "switch_unfinished")


def show(visit: Visit) -> Response:
    """Show the relay."""
    relay = visit.site.answers.ask(lambda insights: insights.relay(), "relay")
    attention = visit.site.answers.ask(lambda insights: insights.attention(), "attention")
    found = [item for item in attention if item.code in _SHOWN]
    return visit.show("relay.html", screen="relay", relay=relay, found=found, publisher=publisher_words(relay))
