"""The schema registry, where the relay names schemas."""

from collections.abc import Iterator

from eventkit.config import Settings
from eventkit.errors import EventkitError
from eventkit.transports import Finding

_REASON = "the relay sends the types whose schema ids it keeps, and holds the topics of all others"


def registry_findings(settings: Settings) -> Iterator[Finding]:
    """Report whether the registry answers."""
    from eventkit.cli.common.schema_naming import schema_ids

    try:
        ids = schema_ids(settings)
        if ids is not None:
            ids.registry.check()
            yield Finding("schema registry", ids.registry.place, "reachable", safe=True, reason="")
    except EventkitError as error:
        yield Finding("schema registry", str(error), "reachable", safe=False, reason=_REASON)
