"""Each released revision can be upgraded, with its rows; released migrations are never edited."""

from pathlib import Path

import psycopg
import pytest

from eventkit.storage import migrate
from eventkit.storage.schema import verify
from tests.migrations.released import FOLDER, Paid, dump, load, pay, project, shop, store, story

FILES = sorted(FOLDER.glob("*.sql"))


def check(url: str) -> None:
    """Everything that the story wrote is there and goes on, with the newest tables."""
    migrate.upgrade(url)
    pay(url, "ada", 10)
    project(url)

    assert verify.differences(url, "eventkit") == []
    with psycopg.connect(url) as connection:
        ada = [(one.version, one.event) for one in store.read_stream(connection, shop.stream("account", "ada"))]
        parked = connection.execute("select stream, version from eventkit.dead_letters order by 2").fetchall()
        rows = connection.execute("select account, cents from paid order by 1").fetchall()
    assert ada == [(1, Paid("ada", 5)), (2, Paid("ada", 7)), (3, Paid("ada", 10))]
    assert parked == [("account-bob", 2), ("account-bob", 3)]
    assert rows == [("ada", 22), ("bob", 1)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_released_revision_is_upgraded_with_its_rows(empty_database_url: str, file: Path) -> None:
    """To the newest tables: events are read, the next version is appended, the projection continues."""
    load(empty_database_url, file.read_text())

    check(empty_database_url)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_released_migration_is_not_edited(file: Path) -> None:
    """Its statements are still those of the release."""
    assert file.read_text().startswith(migrate.sql(revision=file.stem))


def test_the_file_of_the_next_release_will_do(database_url: str, empty_database_url: str) -> None:
    """Written as `make release` writes it, and loaded into another database."""
    story(database_url)
    text = dump(database_url)

    load(empty_database_url, text)

    check(empty_database_url)
    assert text.startswith(migrate.sql())
