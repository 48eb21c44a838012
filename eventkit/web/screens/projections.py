"""Projections: their place against the newest event, their rate, rebuilds, and who runs them."""

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from eventkit.insights import ProjectionInsight, state_words
from eventkit.web.rendering.charts import sparkline
from eventkit.web.visit import Visit

_LIMIT = 50


def show(visit: Visit) -> Response:
    """Show the projections, page by page."""
    after = visit.asked("after")
    page = visit.site.answers.ask(
        lambda insights: insights.projections(after=after, limit=_LIMIT), "projections", after
    )
    lines = {item.name: sparkline(visit.site.refresher.trend(f"projection {item.name}")) for item in page.items}
    relay = visit.site.answers.ask(lambda insights: insights.relay(), "relay")
    states = {item.name: state_words(item, relay) for item in page.items}
    return visit.show("projections.html", screen="projections", page=page, lines=lines, states=states)


def projection(visit: Visit) -> Response:
    """Show one projection."""
    found = read(visit)
    processes = visit.site.answers.ask(lambda insights: insights.processes(limit=500), "all processes")
    names = {each.id: f"{each.host}:{each.pid}" for each in processes.items}
    return visit.show("projection.html", screen="projections", projection=found, names=names)


def read(visit: Visit) -> ProjectionInsight:
    """Return the projection that the query names; raise HTTPException where there is none."""
    name = visit.asked("name") or ""
    found = visit.site.answers.ask(lambda insights: insights.projection(name), "projection", name)
    if found is None:
        raise HTTPException(404, f"there is no projection {name!r} in this database")
    return found


def trend(visit: Visit) -> Response:
    """Answer with the points of a trend: times, and values."""
    samples = visit.site.refresher.trend(visit.asked("of") or "")
    return JSONResponse([[moment for moment, _ in samples], [value for _, value in samples]])
