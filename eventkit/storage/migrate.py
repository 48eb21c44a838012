"""Upgrades and downgrades eventkit's tables with alembic; the migrations are in the wheel or the checkout.

All tables are in eventkit's own PostgreSQL schema, the version table too, so a service's own alembic is not affected.
Only an env.py with `include_schemas=True` needs a filter, to keep eventkit's tables out of autogenerate:

    context.configure(..., include_schemas=True, include_name=eventkit.storage.migrate.include_name)

A service may run eventkit's migrations as a branch of its own instead: add the folder `versions` in
`migrations_folder()` to `version_locations` and run `alembic upgrade heads`; `eventkit_schema` in its alembic.ini names
another schema.
"""

import io
import logging
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from psycopg import errors
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import CreateSchema

from eventkit.config import check_schema
from eventkit.errors import ConfigurationError, SchemaMismatch
from eventkit.storage.db import connect, database_errors, revision_problem, revisions
from eventkit.storage.schema import remember
from eventkit.storage.tables import DEFAULT_SCHEMA, REVISIONS, VERSION_TABLE

SCHEMA_OPTION = "eventkit_schema"

logger = logging.getLogger("eventkit.migrate")

_SESSION = "select current_user, current_database(), current_setting('search_path')"
_NO_SCHEMA = "''"
_alembic = threading.Lock()  # alembic keeps its state in globals of the process


def upgrade(url: str, schema: str = DEFAULT_SCHEMA, revision: str = "head") -> None:
    """Create or upgrade the tables, in one transaction; safe to run by several processes at once."""
    with _migrating(url, schema) as config:
        command.upgrade(config, revision)
    with connect(url, name="migration", schema=None, autocommit=True) as session:
        if revisions(session, schema) == [REVISIONS[-1]]:
            remember(session, schema)


def downgrade(url: str, schema: str = DEFAULT_SCHEMA, revision: str = "-1") -> None:
    """Undo migrations down to a revision, "base" for all; the data of their tables is lost."""
    with _migrating(url, schema) as config:
        command.downgrade(config, revision)


def current(url: str, schema: str = DEFAULT_SCHEMA) -> str | None:
    """Return the database's revision; None where no migration of eventkit has run."""
    check_schema(schema)
    with connect(url, name="migration", schema=None) as connection, database_errors():
        present = revisions(connection, schema)
    return ", ".join(present) or None


def sql(schema: str = DEFAULT_SCHEMA, revision: str = "head") -> str:
    """Return the statements of an upgrade, without a database; `revision` may be a range, "eventkit_0001:head"."""
    script = io.StringIO()
    with _commands():
        command.upgrade(_config(check_schema(schema), script), revision, sql=True)
    return script.getvalue()


def include_name(
    name: str | None, type_: str, _parents: Mapping[str, str | None], *, schema: str = DEFAULT_SCHEMA
) -> bool:
    """Filter eventkit's schema out of a service's `alembic revision --autogenerate`.

    For another schema, use `functools.partial(include_name, schema=...)`.
    """
    return type_ != "schema" or name != schema


def include_only(schema: str, name: str | None, type_: str, _parents: Mapping[str, str | None]) -> bool:
    """Filter all schemas but eventkit's out of eventkit's own alembic."""
    return type_ != "schema" or name == schema


def migrations_folder() -> Path:
    """Return the folder of the migrations: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationError(f"eventkit's migrations are neither in {package} nor beside it: install the package again")


def schema_of(context: MigrationContext) -> str:
    """Return the schema of a migration."""
    return schema_of_config(context.config)


def schema_of_config(config: Config | None) -> str:
    """Return the schema that alembic was given: by eventkit, or as `eventkit_schema` in a service's alembic.ini."""
    given = (config.attributes.get(SCHEMA_OPTION) or config.get_main_option(SCHEMA_OPTION)) if config else None
    return check_schema(str(given or DEFAULT_SCHEMA))


def make_schema(context: MigrationContext, schema: str) -> None:
    """Create the schema, unless it exists: an operator may have made it for a role that may not create one."""
    if context.as_sql or context.connection is None:
        context.execute(CreateSchema(schema, if_not_exists=True))
    elif not context.dialect.has_schema(context.connection, schema):
        context.execute(CreateSchema(schema, if_not_exists=True))
        _keep_default_schema(context.connection, schema)


def _keep_default_schema(connection: Connection, schema: str) -> None:
    """Remove "$user" from the search path of a role named like the schema, which would find the new schema there."""
    user, database, path = connection.execute(text(_SESSION)).one()
    kept = [name.strip() for name in path.split(",") if name.strip() != '"$user"']
    if user == schema and len(kept) < len(path.split(",")):
        quote = connection.dialect.identifier_preparer.quote_identifier
        where = f"{quote(user)} in database {quote(database)}"
        connection.execute(text(f"alter role {where} set search_path = {', '.join(kept) or _NO_SCHEMA}"))
        logger.info(
            "role %s has the schema's name: its search path in this database is %s now, so its own tables are not made "
            "among eventkit's", user, ", ".join(kept) or "empty",
        )  # fmt: skip


def lock_key(schema: str) -> int:
    """Return the advisory lock that allows one upgrade of a schema at a time."""
    return zlib.crc32(f"eventkit migration {schema}".encode())


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Open a connection of SQLAlchemy for alembic."""
    with database_errors():
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: connect(url, name="migration", schema=None), poolclass=NullPool
        )
        with engine.connect() as connection:
            yield connection


@contextmanager
def _migrating(url: str, schema: str) -> Iterator[Config]:
    check_schema(schema)
    with connect(url, name="migration", schema=None) as session, database_errors():
        present = revisions(session, schema)
    if set(present) - set(REVISIONS):
        raise SchemaMismatch(revision_problem(schema, present))
    config = _config(schema)
    with connected(url) as connection, _commands():
        config.attributes["connection"] = connection
        yield config


@contextmanager
def _commands() -> Iterator[None]:
    try:
        with _alembic:
            yield
    except CommandError as error:
        raise ConfigurationError(
            f"alembic refuses: {error}; eventkit's revisions are {', '.join(REVISIONS)}, head and base"
        ) from error
    except ProgrammingError as error:
        if not isinstance(error.orig, errors.DuplicateObject | errors.DuplicateTable | errors.DuplicateFunction):
            raise
        text = str(error.orig).splitlines()[0]
        raise SchemaMismatch(
            f"{text}, but there is no {VERSION_TABLE}: the tables were made another way (by a service's own alembic "
            "with eventkit's migrations as a branch?); upgrade them there, or compare them with `eventkit db verify`"
        ) from error


def _config(schema: str, script: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=script or io.StringIO(), stdout=io.StringIO())
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes[SCHEMA_OPTION] = schema
    return config
