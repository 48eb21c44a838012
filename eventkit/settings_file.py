"""The settings file: where it is looked for, who may own it, and which settings it must not hold.

`eventkit.toml`, or `[tool.eventkit]` in `pyproject.toml`, in the working directory or the nearest folder above it, up
to the project's root, the folder with `.git`. The file must belong to this user or to root. Only its owner and this
user's primary group may have the right to write it. Any other file may be a stranger's: it is skipped with a warning.
A file cannot name code: `check_options` refuses options that load a library or run a command.
"""

import logging
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from eventkit.errors import ConfigurationError

NAME = "eventkit.toml"
PYPROJECT = "pyproject.toml"
TABLE = re.compile(rb"tool\W{1,9}eventkit|\[\s*[\"']?tool[\"']?\s*\]")  # the start of a table that may be eventkit's
MAX_SIZE = 1_000_000  # bytes

# librdkafka's options that load a shared library, and the one that a shell runs.
RUN_CODE = frozenset({"plugin.library.paths", "ssl.engine.location", "ssl.providers", "sasl.kerberos.kinit.cmd"})

logger = logging.getLogger("eventkit.settings")


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file and its values."""

    path: Path
    values: dict[str, Any]


def find() -> SettingsFile | None:
    """Return the settings file for the working directory; None if there is none."""
    try:
        folder = Path.cwd()
    except OSError:  # the working directory was removed
        return None
    return next(_files(folder), None)


def check_options(path: Path, url: str, options: Iterable[str]) -> None:
    """Refuse options of a transport, or of a URL's query, that would run code; raise ConfigurationError."""
    query = dict(parse_qsl(url.partition("?")[2]))
    for name in (*options, *query):
        if name.lower().replace("_", ".") in RUN_CODE:
            raise ConfigurationError(
                f"{path} sets {name}, which loads code into this process: set it in the environment, "
                f"EVENTKIT_TRANSPORT_OPTION_{name}, or leave it out"
            )
    if ":" in query.get("sslkey", ""):
        raise ConfigurationError(
            f"{path} sets sslkey to a key of an OpenSSL engine, which loads code into this process: set "
            "EVENTKIT_DATABASE_URL in the environment instead"
        )


def _files(folder: Path) -> Iterator[SettingsFile]:
    """Yield the settings files from the nearest folder upwards."""
    for place in (folder, *folder.parents):
        if (values := _values(place / NAME)) is not None:
            yield SettingsFile(place / NAME, values)
        tool = (_values(place / PYPROJECT, table=True) or {}).get("tool")
        values = tool.get("eventkit") if isinstance(tool, dict) else None
        if isinstance(values, dict):
            yield SettingsFile(place / PYPROJECT, values)
        if _is_root(place):
            return


def _values(path: Path, *, table: bool = False) -> dict[str, Any] | None:
    """Return a file's values; None if it is missing, unreadable, not trusted, or has no table of eventkit's."""
    try:
        text, doubt = _read(path)
    except OSError:
        if not table:
            _warn_unreadable(path)
        return None
    if table and not TABLE.search(text):
        return None
    if doubt:
        logger.warning(
            "%s is ignored: %s; make yourself or root its owner, and let no other user write it", path, doubt
        )
        return None
    if len(text) > MAX_SIZE:
        raise ConfigurationError(f"{path} is larger than {MAX_SIZE:,} bytes, and was not read: is it a settings file?")
    try:
        return tomllib.loads(text.decode("utf-8-sig"))  # editors of Windows write a byte order mark
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def _read(path: Path) -> tuple[bytes, str | None]:
    """Return a file's text, and why it is not trusted, if so; the check looks at the opened file, not at its name."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 O_NONBLOCK: a FIFO
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return b"", "it is no file"
        return file.read(MAX_SIZE + 1), _doubt(path.lstat(), link=True) or _doubt(status)


def _warn_unreadable(path: Path) -> None:
    """Warn of a file that cannot be read; a file in a folder that cannot be read counts as missing."""
    try:
        path.lstat()
    except OSError:
        return
    logger.warning("%s is ignored: this user cannot read it", path)


def _doubt(status: os.stat_result, *, link: bool = False) -> str | None:
    """Return who else could have written a file; a link's own mode is always open, so only its owner counts."""
    if status.st_uid not in {os.geteuid(), 0}:
        return f"it belongs to user {status.st_uid}"
    if link and stat.S_ISLNK(status.st_mode):
        return None
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write it"
    if status.st_mode & stat.S_IWGRP and status.st_gid != os.getegid():
        return f"group {status.st_gid} may write it"
    return None


def _is_root(folder: Path) -> bool:
    try:
        return (folder / ".git").exists()
    except OSError:
        return False
