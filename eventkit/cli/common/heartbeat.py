"""The heartbeat of a command that runs for long."""

from typing import TYPE_CHECKING

from eventkit.config import Settings

if TYPE_CHECKING:
    from eventkit.heartbeat import Heartbeat, State


def heartbeat(settings: Settings, state: "State", *, role: str, name: str) -> "Heartbeat":
    """Return the heartbeat of this process, a context manager around its work."""
    from eventkit.heartbeat import SESSION, Heartbeat
    from eventkit.storage.db import connect

    return Heartbeat(
        lambda purpose: connect(
            settings.require_database(), name=purpose, schema=settings.schema, autocommit=True, options=SESSION
        ),
        schema=settings.schema,
        role=role,
        name=name,
        state=state,
    )
