"""`eventkit health`: ask the endpoint of a worker process, for a probe that runs a command."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any

import click
import msgspec

from eventkit.cli.common.durations import Seconds
from eventkit.cli.common.output import say
from eventkit.errors import TransportUnavailable

_PATHS = {"ready": "/readyz", "live": "/livez", "startup": "/startupz"}
_OK = 200
_EXAMPLES = """\b
Examples:
  eventkit relay run --serve 8080 &
  eventkit health 8080
  eventkit health 8080 --probe live
  eventkit health 127.0.0.1:8080 --json | jq .checks

The exit code is 0 if the answer is yes, and 1 if it is no or does not come.
"""


@click.command(name="health", epilog=_EXAMPLES)
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--probe", type=click.Choice(list(_PATHS)), default="ready", show_default=True, help="The question to ask."
)
@click.option("--timeout", type=Seconds(0.1), default=2.0, show_default=True, help="Seconds to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON object, for a script.")
def command(address: str, probe: str, timeout: float, *, as_json: bool) -> None:
    """Ask a worker that runs with --serve HOST:PORT whether it is ready, live or started; exit 1 if it is not."""
    from eventkit.health import parse_address

    host, port = parse_address(address)
    status, answer = _ask(host, port, _PATHS[probe], timeout=timeout)
    if as_json:
        say(json.dumps(answer))
    else:
        for line in _lines(answer):
            say(line)
    if status != _OK:
        raise click.exceptions.Exit(1)


def _ask(host: str, port: int, path: str, *, timeout: float) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        answer = msgspec.json.decode(response.read(), type=dict[str, Any])
    except (OSError, HTTPException, msgspec.MsgspecError) as error:
        reason = str(error) or type(error).__name__
        raise TransportUnavailable(
            f"no worker answers at {host}:{port} within {timeout:g} s ({reason}): is it running with --serve?"
        ) from error
    finally:
        connection.close()
    return response.status, answer


def _lines(answer: dict[str, Any]) -> list[str]:
    """Return a line for each check or loop."""
    if "checks" in answer:
        return [_line(name, each["reason"], ok=each["ok"]) for name, each in answer["checks"].items()]
    if "loops" in answer:
        return [
            _line(each["loop"], f"{each['waits_for']}, for {each['seconds']:.1f} s", ok=not each["is_stuck"])
            for each in answer["loops"]
        ] or ["ok  no loop is running yet"]
    return [_line("started", str(answer.get("started")).lower(), ok=bool(answer.get("started")))]


def _line(name: str, text: str, *, ok: bool) -> str:
    return f"{'ok' if ok else 'no'}  {name}: {text}"
