"""All tables and columns of eventkit; the migrations and `eventkit db verify` are compared with them.

The tables are in their own PostgreSQL schema (`eventkit` unless configured). Each table has a comment that describes a
row, for readers in psql. A module has the tables of one theme, and adds them to a `MetaData`.
"""

from collections.abc import Mapping
from functools import cache

from sqlalchemy import DDL, MetaData, Table, event

from eventkit.storage.tables.database_functions import (
    APPEND_ONLY,
    REFUSE_CHANGE,
    REFUSE_CHANGE_BODY,
    TO_DEBEZIUM,
    to_debezium_body,
)
from eventkit.storage.tables.dead_letters import add_dead_letters
from eventkit.storage.tables.events import add_events
from eventkit.storage.tables.installation import add_installation
from eventkit.storage.tables.messaging import add_messaging
from eventkit.storage.tables.names import (
    DEFAULT_SCHEMA,
    MAINTENANCE_ROLE,
    REVISIONS,
    SHARDS,
    VERSION_TABLE,
    shard_of,
)
from eventkit.storage.tables.operation import add_operation
from eventkit.storage.tables.outbox import add_outbox
from eventkit.storage.tables.projections import add_projections
from eventkit.storage.tables.snapshots import add_snapshots
from eventkit.storage.tables.storage_parameters import STORAGE

__all__ = [
    "APPEND_ONLY",
    "DEFAULT_SCHEMA",
    "MAINTENANCE_ROLE",
    "REFUSE_CHANGE",
    "REFUSE_CHANGE_BODY",
    "REVISIONS",
    "SHARDS",
    "STORAGE",
    "TO_DEBEZIUM",
    "VERSION_TABLE",
    "metadata",
    "shard_of",
    "to_debezium_body",
]


@cache
def metadata(schema: str = DEFAULT_SCHEMA) -> MetaData:
    """Return all tables in the given PostgreSQL schema."""
    tables = MetaData(
        schema=schema,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        },
    )
    add_installation(tables)
    add_events(tables)
    add_snapshots(tables)
    add_outbox(tables)
    add_dead_letters(tables)
    add_projections(tables)
    add_messaging(tables)
    add_operation(tables)
    for table in tables.sorted_tables:
        _store_as(table, table.info.get(STORAGE, {}))
    return tables


def _store_as(table: Table, parameters: Mapping[str, str]) -> None:
    """Set storage parameters when the table is created without migrations."""
    if parameters:
        settings = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        event.listen(table, "after_create", DDL(f"alter table %(fullname)s set ({settings})"))  # type: ignore[no-untyped-call]
