"""The operation of this app's migrations: run eventkit's own, which stay the only description of its tables."""

from collections.abc import Callable
from typing import Any

from django.db.migrations import RunPython

from eventkit.config import load_settings
from eventkit.integrations.django.project_settings import database_url, given_by_django
from eventkit.storage import migrate

Move = Callable[[str, str, str], None]


def upgrade_to(revision: str, *, back_to: str) -> RunPython:
    """Return an operation that upgrades the database to a revision, and undoes it down to the one before.

    It uses a session and a transaction of its own, so its migration needs `atomic = False`. Tables that are there
    already are left as they are. Other databases than PostgreSQL are skipped.
    """
    return RunPython(_mover(migrate.upgrade, revision), _mover(migrate.downgrade, back_to))


def _mover(move: Move, revision: str) -> Callable[[Any, Any], None]:
    def run(_apps: object, editor: Any) -> None:  # noqa: ANN401 Django has no types
        if editor.connection.vendor == "postgresql":
            with given_by_django():
                schema = load_settings().schema
            move(database_url(editor.connection.alias), schema, revision)

    return run
