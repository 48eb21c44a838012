"""The relay: who leads each part, unsent events, held and paused topics."""

from starlette.responses import Response

from eventkit.web.visit import Visit


def show(visit: Visit) -> Response:
    """Show the relay."""
    relay = visit.site.answers.ask(lambda insights: insights.relay(), "relay")
    found = visit.site.answers.ask(lambda insights: insights.attention(), "attention")
    missing = [item for item in found if item.code in ("no_relay", "part_without_relay")]
    return visit.show("relay.html", screen="relay", relay=relay, missing=missing)
