"""A service with an alembic of its own on the same database: ours and its own do not touch each other."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from eventkit.storage import migrate
from eventkit.storage.schema import verify

ROOT = migrate.migrations_folder().parent
INI = """
[alembic]
script_location = %(here)s/alembic
path_separator = newline
{more}
"""
ENV = """
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, create_engine
from eventkit.storage.migrate import include_name

metadata = MetaData()
Table("orders", metadata, Column("id", Integer, primary_key=True))

engine = create_engine({url!r})
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, **{options})
    with context.begin_transaction():
        context.run_migrations()
"""
MAKO = '''"""${{message}}"""
from alembic import op
import sqlalchemy as sa
revision = ${{repr(up_revision)}}
down_revision = ${{repr(down_revision)}}
branch_labels = ${{repr(branch_labels)}}
depends_on = ${{repr(depends_on)}}
def upgrade():
    ${{upgrades if upgrades else "pass"}}
def downgrade():
    ${{downgrades if downgrades else "pass"}}
'''.replace("{{", "{").replace("}}", "}")


class Service:
    """A folder with a service's alembic.ini and environment, and the command that runs in it."""

    def __init__(self, folder: Path, url: str, *, options: str = "{}", more: str = "") -> None:
        """Write the files that a service would have."""
        self._folder = folder
        self.versions = folder / "alembic" / "versions"
        self.versions.mkdir(parents=True)
        (folder / "alembic.ini").write_text(INI.format(more=more))
        address = url.replace("postgresql://", "postgresql+psycopg://")
        (folder / "alembic" / "env.py").write_text(ENV.replace("{url!r}", repr(address)).replace("{options}", options))
        (folder / "alembic" / "script.py.mako").write_text(MAKO)

    def alembic(self, *arguments: str) -> str:
        """Run alembic as the service would, and return its output."""
        return run("alembic", *arguments, folder=self._folder)

    def proposed(self) -> str:
        """Return the changes that autogenerate proposes."""
        before = set(self.versions.glob("*.py"))
        self.alembic("revision", "--autogenerate", "-m", "proposal")
        [script] = set(self.versions.glob("*.py")) - before
        return script.read_text()


def run(module: str, *arguments: str, folder: Path, **environment: str) -> str:
    """Run a module's command and return its output; a failure shows it."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("options", ["{}", "{'include_schemas': True, 'include_name': include_name}"])
def test_a_services_autogenerate_proposes_no_change_of_eventkits_tables(
    tmp_path: Path, database_url: str, options: str
) -> None:
    """Its autogenerate finds its own new table and does not mention ours, with and without `include_schemas`."""
    service = Service(tmp_path, database_url, options=options)

    proposed = service.proposed()

    assert "create_table('orders'" in proposed
    assert "eventkit" not in proposed
    assert "drop" not in proposed.split("def downgrade")[0]


def test_without_include_name_our_tables_would_be_dropped(tmp_path: Path, database_url: str) -> None:
    """The test above is able to fail: this is the purpose of `include_name`."""
    service = Service(tmp_path, database_url, options="{'include_schemas': True}")

    assert "op.drop_table('events', schema='eventkit')" in service.proposed()


def test_upgrades_of_both_leave_each_other_alone(tmp_path: Path, empty_database_url: str) -> None:
    """Two version tables: a service may go up and down, and so may we."""
    service = Service(tmp_path, empty_database_url)
    service.proposed()

    service.alembic("upgrade", "head")
    migrate.upgrade(empty_database_url)
    service.alembic("downgrade", "base")

    assert verify.differences(empty_database_url, "eventkit") == []
    service.alembic("upgrade", "head")
    migrate.downgrade(empty_database_url, revision="base")
    with psycopg.connect(empty_database_url) as session:
        assert session.execute("select to_regclass('public.orders') is not null").fetchone() == (True,)


@pytest.mark.parametrize("schema", ["eventkit", "records"])
def test_our_migrations_run_as_a_branch_of_a_service_s_own(
    tmp_path: Path, empty_database_url: str, schema: str
) -> None:
    """With our folder in `version_locations`, `alembic upgrade heads` of the service makes our tables too."""
    locations = f"version_locations =\n    %(here)s/alembic/versions\n    {migrate.migrations_folder()}/versions"
    more = f"{locations}\neventkit_schema = {schema}"
    service = Service(tmp_path, empty_database_url, more=more)
    service.alembic("revision", "-m", "first", "--head", "base", "--version-path", str(service.versions))

    service.alembic("upgrade", "heads")

    assert verify.differences(empty_database_url, schema) == []
    assert migrate.current(empty_database_url, schema) is None
    service.alembic("downgrade", "eventkit@base")


def test_plain_alembic_works_from_a_checkout(empty_database_url: str) -> None:
    """`alembic upgrade head` at the top of a checkout takes its database from the settings; `alembic check` agrees."""
    run("alembic", "upgrade", "head", folder=ROOT, EVENTKIT_DATABASE_URL=empty_database_url)

    assert verify.differences(empty_database_url, "eventkit") == []
    printed = run("alembic", "check", folder=ROOT, EVENTKIT_DATABASE_URL=empty_database_url)
    assert "No new upgrade operations detected" in printed


def test_plain_alembic_minds_the_schema_of_the_settings(empty_database_url: str) -> None:
    """EVENTKIT_SCHEMA counts there as everywhere."""
    run("alembic", "upgrade", "head", folder=ROOT, EVENTKIT_DATABASE_URL=empty_database_url, EVENTKIT_SCHEMA="records")

    assert verify.differences(empty_database_url, "records") == []
