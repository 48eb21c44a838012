"""The system: table sizes, settings with their origin, the checks of `eventkit doctor`, and operators' actions."""

from dataclasses import replace

from starlette.responses import Response

from eventkit.config import masked_url
from eventkit.insights import SettingInsight, database_findings
from eventkit.storage.schema import Health
from eventkit.web.visit import Visit

_ACTIONS = 50


def show(visit: Visit) -> Response:
    """Show sizes, settings, and actions."""
    after = visit.asked("after")
    answers = visit.site.answers
    return visit.show(
        "system.html",
        screen="system",
        sizes=answers.ask(lambda insights: insights.sizes(), "sizes"),
        settings=_settings(visit),
        actions=answers.ask(lambda insights: insights.actions(after=after, limit=_ACTIONS), "actions", after),
    )


def checks(visit: Visit) -> Response:
    """Show the findings of the database's checks; they take longer than the rest of the screen."""
    with visit.site.sessions.reading() as session:
        found = [
            each
            for each in database_findings(Health(session, visit.site.sessions.schema))
            if each.reason and not (each.safe and each.found == each.wanted)
        ]
    return visit.show("checks.html", screen="system", findings=sorted(found, key=lambda each: each.safe))


def _settings(visit: Visit) -> list[SettingInsight]:
    """Return the settings of this process, with those that the page was given instead."""
    found = visit.site.answers.ask(lambda insights: insights.settings(), "settings")
    given = visit.site.settings
    own = {
        "database_url": given.database_url and masked_url(given.database_url),
        "transport_url": given.transport_url and masked_url(given.transport_url),
        "schema": given.schema,
    }
    return [
        each
        if own.get(each.name, each.value) == each.value
        else replace(each, value=own[each.name], origin="given to this page")
        for each in found
    ]
