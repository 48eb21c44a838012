"""A PostgreSQL database cluster on disk: its data folder, its programs, and the account that runs them.

PostgreSQL refuses to run as root, so root runs the programs as `nobody`, or as the owner of existing data.
"""

import os
import signal
import stat
from pathlib import Path

from eventkit.embedded.binaries import Binaries
from eventkit.embedded.guard import Account, Guard, ServerCommand, tail, unprivileged
from eventkit.errors import EmbeddedUnavailable

LONGEST_PATH = 107  # bytes of a Unix socket's path


class Cluster:
    """A data folder made by `initdb`; `program` describes a program to run on it."""

    def __init__(self, guard: Guard, binaries: Binaries, data: Path | None) -> None:
        """Open the cluster in `data`, by default in the guard's folder; create it if it is missing."""
        self.guard = guard
        self.data = (data or guard.folder / "data").resolve()
        self._log = guard.folder / "postgres.log"
        self._account = _account(self.data)
        if self._account:
            # Root's group may enter too: a process that gave up root's user id alone still reaches its server.
            os.chown(guard.folder, self._account.user, os.getegid())
            guard.folder.chmod(0o710)
            _refuse_closed(self.data, self._account)
            _refuse_closed(guard.folder, self._account)
        _refuse_long(guard.folder)
        self.binaries = binaries.reachable_from(guard.folder) if self._account else binaries
        if (self.data / "PG_VERSION").exists():
            self._refuse_other_release()
        else:
            self._initialise()

    @property
    def log(self) -> str:
        """The end of the programs' output."""
        return tail(self._log)

    def program(self, name: str, *arguments: str) -> ServerCommand:
        """Return the command that runs a program of PostgreSQL on this cluster."""
        return ServerCommand(
            arguments=[str(self.binaries.folder / name), "-D", str(self.data), *arguments],
            log=self._log,
            account=self._account,
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown, which drops sessions
        )

    def _initialise(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._account:
            os.chown(self.data, *self._account)
        access = ("--auth-local=trust", "--auth-host=scram-sha-256")  # only this user can enter the socket's folder
        options = ("-U", "postgres", *access, "--no-sync", "--encoding=UTF8", "--no-locale")
        self.guard.run(self.program("initdb", *options))

    def _refuse_other_release(self) -> None:
        release = (self.data / "PG_VERSION").read_text().strip()
        if release != str(self.binaries.major):
            raise EmbeddedUnavailable(
                f"{self.data} is data of PostgreSQL {release}, but the binaries are of {self.binaries.version}: "
                f"use another folder, or binaries of release {release}"
            )


def _account(data: Path) -> Account | None:
    account = unprivileged()
    if account and (data / "PG_VERSION").exists():
        owner = data.stat()
        return Account(owner.st_uid, owner.st_gid) if owner.st_uid else account
    return account


def _refuse_closed(folder: Path, account: Account) -> None:
    for parent in folder.parents:
        if parent.exists() and not _may_enter(parent.stat(), account):
            raise EmbeddedUnavailable(
                f"user {account.user} cannot enter {parent}, and PostgreSQL refuses to run as root: "
                "set TMPDIR, or `data`, to a folder that other users can reach"
            )


def _may_enter(parent: os.stat_result, account: Account) -> bool:
    if parent.st_uid == account.user:
        return bool(parent.st_mode & stat.S_IXUSR)
    return bool(parent.st_mode & (stat.S_IXGRP if parent.st_gid == account.group else stat.S_IXOTH))


def _refuse_long(folder: Path) -> None:
    path = os.fsencode(folder / ".s.PGSQL.65535")
    if len(path) > LONGEST_PATH:
        raise EmbeddedUnavailable(
            f"{folder} is too long for a socket, by {len(path) - LONGEST_PATH} bytes: set TMPDIR to a shorter path"
        )
