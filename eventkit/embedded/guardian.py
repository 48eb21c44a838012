"""A process between an owner and its servers: once the owner ends, even by `kill -9`, it ends them and their folder.

`guard.Guard` runs it as a script that loads nothing of eventkit. It is the servers' parent. It reads one JSON request a
line on standard input (`run`, `spawn`, `poll`, `signal`) and answers with one line. It ends when its input ends or its
owner is gone. If the guardian itself is killed, the kernel sends its servers their stop signal.
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
OWNER_CHECK_INTERVAL = 0.2  # seconds between two checks whether the owner is still there
STOP_TIMEOUTS = (10.0, 15.0, 5.0)  # seconds after the server's own stop signal, after SIGQUIT, after SIGKILL

Request = dict[str, Any]
Servers = dict[int, tuple["subprocess.Popen[bytes]", int]]


class Guardian:
    """Starts processes on request; `finish` ends them all."""

    def __init__(self) -> None:
        self._servers: Servers = {}

    def answer(self, request: Request) -> Request:
        """Execute a request and return its answer."""
        action: Callable[[Request], Request] = getattr(self, f"_{request['do']}")
        try:
            return action(request)
        except OSError as error:
            return {"error": str(error)}

    def finish(self) -> None:
        """End every server, first with its own stop signal."""
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
    """Return a function with which a child asks the kernel for a signal at the death of this process.

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
    for number, timeout in zip((stop_signal, signal.SIGQUIT, signal.SIGKILL), STOP_TIMEOUTS, strict=True):
        server.send_signal(number)
        server.send_signal(signal.SIGCONT)
        try:
            server.wait(timeout)
        except subprocess.TimeoutExpired:
            continue
        return


def _requests(owner: int) -> Iterator[Request]:
    """Yield requests until the input ends or the owner is gone: its forked children may keep the input open."""
    while os.getppid() == owner:
        if not select.select([sys.stdin], [], [], OWNER_CHECK_INTERVAL)[0]:
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


def _on_signals(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in ENDS:
        signal.signal(number, handler)


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


def main(owner: str, folder: str) -> None:
    """Guard the owner's servers and their folder until the owner is gone."""
    _on_signals(_leave)
    # The owner may have blocked these signals, and its servers must not inherit that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
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
