"""Projections for the tests that run a projector: one whose handler waits while a file exists, and a quick one."""

import os
import time
from pathlib import Path

from sqlalchemy import Connection

from eventkit.projection.define.sql import SqlProjection
from tests.projection.shop import Noted, shop

BLOCKED = "EVENTKIT_TEST_BLOCKED"  # the environment's name for the file's path

stuck = SqlProjection("stuck", shop, timeout=1.0)


@stuck.on(Noted)
def noted(connection: Connection, event: Noted) -> None:
    """Wait as long as the file exists, as for a service that never answers."""
    del connection, event
    while Path(os.environ[BLOCKED]).exists():
        time.sleep(0.02)


quick = SqlProjection("quick", shop)


@quick.on(Noted)
def seen(connection: Connection, event: Noted) -> None:
    """Do nothing."""
