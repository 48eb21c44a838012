"""The first screen: the faults of this moment in words, the most urgent first; calm when all is well."""

from starlette.responses import Response

from eventkit.web.visit import Visit


def show(visit: Visit) -> Response:
    """Show the faults."""
    items = visit.site.answers.ask(lambda insights: insights.attention(), "attention")
    return visit.show("attention.html", screen="attention", items=items)
