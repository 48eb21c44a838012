"""Alembic's environment: eventkit's tables, in eventkit's schema, with its version table; no other schema is read.

`eventkit db` gives its connection; plain `alembic` from a checkout opens one by eventkit's settings.
One upgrade runs at a time, in one transaction, under an advisory lock: a second one waits, then finds nothing to do.
"""

from functools import partial

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, text

from eventkit import config as settings
from eventkit.errors import EventkitError
from eventkit.storage.migrate import SCHEMA_OPTION, connected, include_only, lock_key, make_schema, schema_of_config
from eventkit.storage.tables import VERSION_TABLE, metadata


def run(connection: Connection | None, schema: str) -> None:
    context.configure(
        connection=connection,
        dialect_name=None if connection else "postgresql",
        dialect_opts={"paramstyle": "named"},
        target_metadata=metadata(schema),
        version_table=VERSION_TABLE,
        version_table_schema=schema,
        include_schemas=True,
        include_name=partial(include_only, schema),
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        if connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": lock_key(schema)})
        make_schema(context.get_context(), schema)
        context.run_migrations()


def main() -> None:
    given = context.config.attributes
    if SCHEMA_OPTION not in given:
        given[SCHEMA_OPTION] = context.config.get_main_option(SCHEMA_OPTION) or settings.load_settings().schema
    schema = schema_of_config(context.config)
    if context.is_offline_mode():
        run(None, schema)
    elif "connection" in given:
        run(given["connection"], schema)
    else:
        with connected(settings.load_settings().require_database()) as connection:
            run(connection, schema)


try:
    main()
except EventkitError as error:
    raise CommandError(str(error)) from error  # alembic prints it as one sentence
