"""PostgreSQL access: connections and their settings, statements on any driver, quoting."""

from eventkit.storage.db.advisory_locks import projection_gate
from eventkit.storage.db.arrays import bytes_array, bytes_text, plain_array, text_array
from eventkit.storage.db.asyncpg_statements import is_asyncpg
from eventkit.storage.db.blockers import lock_holders
from eventkit.storage.db.connection import connect, database_errors, first_line, translated
from eventkit.storage.db.driver_errors import psycopg_error
from eventkit.storage.db.execute import (
    INTERRUPTED,
    Asynchronous,
    Executor,
    OpenConnection,
    Statement,
    Steps,
    Synchronous,
    run,
    within,
)
from eventkit.storage.db.identity_columns import identity_problems
from eventkit.storage.db.row_loaders import Row
from eventkit.storage.db.session_checks import revision_problem, revisions
from eventkit.storage.db.session_settings import starting_options
from eventkit.storage.db.sql_text import as_part, in_schema, literal, qualified, quoted, text_in_schema
from eventkit.storage.db.statements import Execute
from eventkit.storage.db.wire_text import file_name, plain_text

__all__ = [
    "INTERRUPTED",
    "Asynchronous",
    "Execute",
    "Executor",
    "OpenConnection",
    "Row",
    "Statement",
    "Steps",
    "Synchronous",
    "as_part",
    "bytes_array",
    "bytes_text",
    "connect",
    "database_errors",
    "file_name",
    "first_line",
    "identity_problems",
    "in_schema",
    "is_asyncpg",
    "literal",
    "lock_holders",
    "plain_array",
    "plain_text",
    "projection_gate",
    "psycopg_error",
    "qualified",
    "quoted",
    "revision_problem",
    "revisions",
    "run",
    "starting_options",
    "text_array",
    "text_in_schema",
    "translated",
    "within",
]
