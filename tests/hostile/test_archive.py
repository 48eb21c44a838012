"""Archives with every character there is, and files that are none: nothing is lost, and nothing crafted is restored."""

import gzip
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit import Catalog, EventStore
from eventkit.errors import ArchiveError
from eventkit.storage.retention import archive as room
from eventkit.storage.retention.archive import Archive
from tests.storage.pruned import maintenance_role, send, there

notes = Catalog("notes")


@notes.event
@dataclass(frozen=True)
class Noted:
    """An event with a text in its data and one among the names."""

    text: str
    more: dict[str, Any]


store = EventStore(notes)
EVENTS = "select * from eventkit.events order by position"
STREAM = notes.stream("order", "a")
CHUNK = 20_000
SURROGATES = range(0xD800, 0xE000)


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A database where events may be deleted."""
    with maintenance_role(database_url):
        yield database_url


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A session as the command has it."""
    with psycopg.connect(url, autocommit=True) as session:
        yield session


def record(url: str, *events: Noted) -> None:
    """Append to the one stream, and send."""
    with psycopg.connect(url) as session:
        store.append(session, STREAM, *events)
    send(url, "a")


def test_every_character_comes_back(url: str, connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    """All of Unicode in values and names, except U+0000 and surrogates, which PostgreSQL cannot hold."""
    every = [chr(code) for code in range(1, sys.maxunicode + 1) if code not in SURROGATES]
    chunks = ["".join(every[start : start + CHUNK]) for start in range(0, len(every), CHUNK)]
    record(url, *[Noted(chunk, {chunk[:200]: [1.5, 10**30, "1.10", None]}) for chunk in chunks])
    before = connection.execute(EVENTS).fetchall()

    Archive(connection, "eventkit", actor="ann").close([STREAM], tmp_path / "a.jsonl")
    gone = there(url)
    Archive(connection, "eventkit", actor="ann").restore(tmp_path / "a.jsonl")

    assert gone == {}
    assert connection.execute(EVENTS).fetchall() == before
    assert len(before) == len(chunks)


def test_an_event_that_would_not_come_back_is_not_deleted(
    url: str, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read back and compared before: here the disk, or a mistake, has changed a word in it."""
    record(url, Noted("seven", {"amount": 7}), Noted("eight", {}))
    changed = "replace(row_to_json(e)::text, 'seven', 'eight')"
    monkeypatch.setattr(room, "_EVENTS", room._EVENTS.replace("row_to_json(e)::text", changed))

    with pytest.raises(ArchiveError, match=r"would have restored 1 of 2 events unchanged: nothing was archived"):
        Archive(connection, "eventkit", actor="ann").close([STREAM], tmp_path / "a.jsonl")

    assert there(url) == {STREAM: [1, 2]}
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_its_owners_alone(url: str, connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    """It holds the data of the store; a umask is no protection."""
    record(url, Noted("x", {}))
    before = os.umask(0)
    try:
        Archive(connection, "eventkit", actor="ann").close([STREAM], tmp_path / "a.jsonl")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder"])
def test_nothing_that_is_there_is_written_over(
    url: str, connection: psycopg.Connection[Any], tmp_path: Path, kind: str
) -> None:
    """Neither the file, nor one that a link of its name leads to, nor one with .part behind it."""
    record(url, Noted("x", {}))
    file, other, part = tmp_path / "a.jsonl", tmp_path / "other", tmp_path / "a.jsonl.part"
    part.write_text("precious")
    if kind == "folder":
        file.mkdir()
    elif kind == "file":
        file.write_text("precious")
    else:
        file.symlink_to(other)
        if kind == "link":
            other.write_text("precious")

    with pytest.raises(ArchiveError, match="exists already"):
        Archive(connection, "eventkit", actor="ann").close([STREAM], file)

    assert {path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {"precious"}
    assert other.exists() == (kind == "link")
    assert there(url) == {STREAM: [1]}


def test_a_full_disk_leaves_the_store_as_it_was(
    url: str, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says so, and no half of a file stays."""
    record(url, Noted("x", {}))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveError, match="No space left on device"):
        Archive(connection, "eventkit", actor="ann").close([STREAM], tmp_path / "a.jsonl")

    assert there(url) == {STREAM: [1]}
    assert list(tmp_path.iterdir()) == []


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Change the second event of a file."""

    def craft(data: bytes) -> bytes:
        first, second = data.splitlines(keepends=True)
        event = json.loads(second)
        change(event)
        return first + json.dumps(event).encode() + b"\n"

    return craft


CRAFTED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut in a line": lambda data: data[:-9],
    "cut at a line": lambda data: data.splitlines(keepends=True)[0],
    "without its beginning": lambda data: data.splitlines(keepends=True)[1],
    "without the last LF": lambda data: data.rstrip(b"\n"),
    "a line twice": lambda data: data + data.splitlines(keepends=True)[1],
    "a version twice": changed(lambda event: event.update(version=1)),
    "a version far away": changed(lambda event: event.update(version=2**31)),
    "a position far away": changed(lambda event: event.update(position=10**15)),
    "a version that is text": changed(lambda event: event.update(version="2")),
    "a stream that is a number": changed(lambda event: event.update(stream=2)),
    "no stream": changed(lambda event: event.pop("stream")),
    "a field more": changed(lambda event: event.update(evil=1)),
    "other data": changed(lambda event: event.update(data={"text": "forged", "more": {}})),
    "a NUL in the data": changed(lambda event: event.update(data={"text": "\0"})),
    "a list": lambda _: b"[1, 2]\n",
    "numbers": lambda _: b"1\n2\n",
    "deep nesting": lambda _: b"[" * 1_000_000,
    "one long line": lambda _: b"x" * 20_000_000,
    "no UTF-8": lambda _: b"\xff\xfe\n",
    "compressed": gzip.compress,
    "a bomb": lambda _: gzip.compress(b"0" * 50_000_000),
}


def test_no_crafted_file_is_restored(url: str, connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    """Each is refused with one sentence; nothing has happened, and the archive itself can be restored after it."""
    record(url, Noted("one", {}), Noted("two", {}))
    archive, file = Archive(connection, "eventkit", actor="ann"), tmp_path / "a.jsonl"
    archive.close([STREAM], file)
    for title, craft in CRAFTED.items():
        crafted = tmp_path / "crafted"
        crafted.write_bytes(craft(file.read_bytes()))

        with pytest.raises(ArchiveError, match=r"is not an archive of this database, or was changed since") as refused:
            archive.restore(crafted)

        assert there(url) == {}, title
        assert len(str(refused.value)) < 400
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ArchiveError, match="is no file"):
        archive.restore(tmp_path / "fifo")

    assert archive.restore(file) == [STREAM]


def test_another_databases_archive_is_not_restored(
    url: str, connection: psycopg.Connection[Any], empty_database_url: str, tmp_path: Path
) -> None:
    """Its positions and versions mean nothing here, even where a stream of that name is closed at that version."""
    from eventkit.storage.migrate import upgrade  # noqa: PLC0415 of this test alone

    upgrade(empty_database_url)
    for database in (url, empty_database_url):
        record(database, Noted("x", {}))
    with psycopg.connect(empty_database_url, autocommit=True) as other:
        other.execute("grant usage on schema eventkit to eventkit_maintenance")
        other.execute("grant select, delete on eventkit.events to eventkit_maintenance")
        Archive(other, "eventkit", actor="ann").close([STREAM], tmp_path / "theirs")
        other.execute("drop owned by eventkit_maintenance")
    Archive(connection, "eventkit", actor="ann").close([STREAM], tmp_path / "ours")

    with pytest.raises(ArchiveError, match="is not an archive of this database"):
        Archive(connection, "eventkit", actor="ann").restore(tmp_path / "theirs")


def test_a_file_is_compared_by_the_positions_of_its_events(connection: psycopg.Connection[Any]) -> None:
    """Under any statistics: to read all events of the store for each batch would take hours."""
    statement = f"explain {room._SAME.format(s='eventkit')}".encode()
    plan = "\n".join(row[0] for row in connection.execute(statement, (['{"position": 1}'] * 2_000,)))

    assert "Index Scan using events_pkey on events x" in plan
    assert "Seq Scan on events" not in plan
