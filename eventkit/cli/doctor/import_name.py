"""Whether another distribution owns the package `eventkit`, too: PyPI's `eventkit`, a dependency of ib_insync."""

import importlib.metadata
from collections.abc import Iterator

from eventkit.transports import Finding

_REASON = (
    "they overwrite each other's files, and removing one breaks the other: install each in an environment of its own"
)


def import_name_findings() -> Iterator[Finding]:
    """Report the distributions that own the package, if there are several."""
    owners = sorted(set(importlib.metadata.packages_distributions().get("eventkit", [])))
    if len(owners) > 1:
        yield Finding("import name", ", ".join(owners), "eventkit-outbox alone", safe=False, reason=_REASON)
