"""A small process between an owner and its servers: when the owner ends, even by `kill -9`, they and their folder go.

Run as a script by `guard.Guard`, with nothing of eventkit loaded. It is the servers' parent, takes one JSON request a
line on standard input (`run`, `spawn`, `poll`, `signal`), answers with one line, and leaves when its input ends or its
owner is gone. Should the guardian itself be killed, the kernel sends its servers their stop signal.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
GLANCE = 0.2  # seconds between two looks at whether the owner is still there
PATIENCE = (10.0, 15.0, 5.0)  # seconds after the server's own stop signal, after SIGQUIT, after SIGKILL

Request = dict[str, Any]
Servers = dict[int, tuple["subprocess.Popen[bytes]", int]]


class Guardian:
    """Starts processes on request; `finish` ends them all."""

    def __init__(self) -> None:
        """Guard nothing yet."""
        self._servers: Servers = {}

    def answer(self, request: Request) -> Request:
        """Do what is asked."""
        action: Callable[[Request], Request] = getattr(self, f"_{request['do']}")
        try:
            return action(request)
        except OSError as error:
            return {"error": str(error)}

    def finish(self) -> None:
        """End every process, gently at first."""
        for server, stop_signal in self._servers.values():
            _end(server, stop_signal)

    def _run(self, request: Request) -> Request:
        return {"code": _start(request).wait()}

    def _spawn(self, request: Request) -> Request:
        server = _start(request)
        self._servers[server.pid] = (server, request["stop_signal"])
        return {"pid": server.pid}

    def _poll(self, request: Request) -> Request:
        known = self._servers.get(request["pid"])
        return {"code": known[0].poll() if known else 0}

    def _signal(self, request: Request) -> Request:
        known = self._servers.get(request["pid"])
        if known:
            known[0].send_signal(request["signal"])
        return {}


def _start(request: Request) -> "subprocess.Popen[bytes]":
    account = request["account"]
    privileges = {"user": account[0], "group": account[1], "extra_groups": []} if account else {}
    with Path(request["log"]).open("ab") as log:
        return subprocess.Popen(
            request["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(request["log"]).parent,
            env=request["environment"],
            preexec_fn=_follow_parent(request["stop_signal"]),  # noqa: PLW1509  # this process has one thread
            **privileges,
        )


def _follow_parent(stop_signal: int) -> Callable[[], None]:
    """Return what makes a child ask the kernel for a signal when this process dies.

    It runs in the child after the change of user, which would clear the request.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc, guardian = ctypes.CDLL(None), os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != guardian:
            os._exit(1)

    return ask


def _end(server: "subprocess.Popen[bytes]", stop_signal: int) -> None:
    for number, patience in zip((stop_signal, signal.SIGQUIT, signal.SIGKILL), PATIENCE, strict=True):
        server.send_signal(number)
        server.send_signal(signal.SIGCONT)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return


def _requests(owner: int) -> Iterator[Request]:
    """Yield requests until the input ends or the owner is gone (its forked children may keep the input open)."""
    while os.getppid() == owner:
        if not select.select([sys.stdin], [], [], GLANCE)[0]:
            continue
        line = sys.stdin.readline()
        if not line.endswith("\n"):
            return
        yield json.loads(line)


def _remove(folder: str) -> None:
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            return
        time.sleep(0.1)


def _on_signals(reaction: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in ENDS:
        signal.signal(number, reaction)


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


def main(owner: str, folder: str) -> None:
    """Guard the owner's servers and their folder until the owner is gone."""
    _on_signals(_leave)
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, ENDS
    )  # the owner may have blocked them; its servers must not inherit that
    guardian = Guardian()
    try:
        for request in _requests(int(owner)):
            sys.stdout.write(json.dumps(guardian.answer(request)) + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    finally:
        _on_signals(signal.SIG_IGN)
        guardian.finish()
        _remove(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
