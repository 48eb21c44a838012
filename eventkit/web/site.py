"""The parts that all requests of a page share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.routing import Router

from eventkit.config import Settings
from eventkit.domain.catalog import Catalog
from eventkit.web.access import AccessDecision
from eventkit.web.answers import Answers
from eventkit.web.bulk import Bulk
from eventkit.web.refresher import Refresher
from eventkit.web.rendering.words import FILTERS
from eventkit.web.sessions import Sessions
from eventkit.web.threads import Threads

HERE = Path(__file__).parent

NAVIGATION = (  # the name of a screen's route, and its title
    ("attention", "Attention"),
    ("letters", "Dead letters"),
    ("projections", "Projections"),
    ("events", "Streams and events"),
    ("relay", "Relay"),
    ("processes", "Processes and deadlines"),
    ("system", "System"),
)


def environment() -> Environment:
    """Return the templates: every value is escaped, and a missing one is an error."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(FILTERS)
    return templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Sessions, answers and templates of one page; `catalogs` check edited data."""

    settings: Settings
    sessions: Sessions
    answers: Answers
    refresher: Refresher
    bulk: Bulk
    access: AccessDecision
    read_only: bool
    catalogs: Sequence[Catalog]
    router: Router
    threads: Threads = field(default_factory=Threads)
    templates: Environment = field(default_factory=environment)
