"""`eventkit web`: serve the page, on this machine and read-only unless told otherwise."""

import logging
import signal
import socket
from typing import TYPE_CHECKING

import click

from eventkit.cli.common.operator import acting_user
from eventkit.config import Settings
from eventkit.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.requests import Request

    from eventkit.web import Access, AccessDecision, Payloads

logger = logging.getLogger("eventkit.web")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LOCAL_NAMES = (*_LOOPBACK, "[::1]")  # of a Host header, which no other machine's browser sends
_EXAMPLES = """\b
Examples:
  eventkit web                                          read-only, http://127.0.0.1:8650
  eventkit web --allow-actions                          you may act; your name stands in the record
  eventkit web --allow-actions --payloads full          also show and edit the data of events
  eventkit web --host 0.0.0.0 --allowed-host ops.example.com --user-header X-Forwarded-User --allow-actions

The page has no login. On another address than this machine's own, put a proxy in front of it that authenticates, and
let nothing else reach it; or mount `eventkit.web.app` in your own service.
"""


@click.command(name="web", epilog=_EXAMPLES)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Listen on this address.")
@click.option("--port", default=8650, show_default=True, type=click.IntRange(0, 65535), help="Listen on this port.")
@click.option("--read-only/--allow-actions", default=True, help="Refuse every action (default), or let visitors act.")
@click.option(
    "--payloads",
    type=click.Choice(["none", "masked", "full"]),
    default="masked",
    show_default=True,
    help="Data of events: nothing, the names of the fields, or all of it when asked.",
)
@click.option("--allowed-host", "hosts", multiple=True, metavar="NAME", help="A name by which browsers reach the page.")
@click.option("--user-header", metavar="NAME", help="The header in which the proxy in front names the user.")
@click.option(
    "--catalog", "catalogs", multiple=True, metavar="PACKAGE.MODULE:CATALOG", help="Check edited data by its types."
)
@click.pass_obj
def command(  # noqa: PLR0913 one parameter an option
    settings: Settings, /, *, host: str, port: int, read_only: bool, payloads: "Payloads", hosts: tuple[str, ...],
    user_header: str | None, catalogs: tuple[str, ...],
) -> None:  # fmt: skip
    """Show the running system in a browser: what is wrong, dead letters, projections, events, relay, processes."""
    try:
        import uvicorn

        from eventkit.web import app
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the page needs {error.name}: install it with `pip install 'eventkit-outbox[web]'`"
        ) from error
    from eventkit.cli.catalog.options import load_catalog
    from eventkit.cli.common.preflight import preflight_database

    _check_reach(host, hosts, user_header, read_only=read_only)
    preflight_database(settings)
    page = app(
        settings,
        access=_access(user_header, payloads),
        allowed_hosts=hosts or ("localhost", "127.0.0.1", "[::1]"),
        read_only=read_only,
        catalogs=[load_catalog(path) for path in catalogs],
    )
    listening = _listen(host, port)
    mode = "read-only" if read_only else "actions are allowed"
    name = f"[{host}]" if ":" in host else host
    logger.info("the page is at http://%s:%d, %s; Ctrl-C ends it", name, listening.getsockname()[1], mode)
    for number in (signal.SIGINT, signal.SIGTERM):  # the server ends at the first, and raises it again afterwards
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        page, log_config=None, access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise ConfigurationError if the address cannot be used."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio sends small answers at once only where the socket names its protocol
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # a browser that comes before the server waits
    except OSError as error:
        raise ConfigurationError(
            f"the page cannot listen on {host}:{port} ({error.strerror or error}): choose another --port or --host"
        ) from error
    return listening


def _check_reach(host: str, hosts: tuple[str, ...], user_header: str | None, *, read_only: bool) -> None:
    """Raise ConfigurationError where the page would be in reach of others without a name or a user."""
    local = host in _LOOPBACK
    if local and all(name.lower() in _LOCAL_NAMES for name in hosts):
        return
    public = [name for name in hosts if name.lower() not in _LOCAL_NAMES]
    reach = f"--allowed-host {public[0]}" if local else f"--host {host}"
    if not hosts:
        raise ConfigurationError(
            f"{reach} is in reach of other machines: name the page as their browsers do, --allowed-host NAME"
        )
    if user_header is None and not read_only:
        raise ConfigurationError(
            f"{reach} with --allow-actions would let everybody act, each in your name: put a proxy in front that "
            "authenticates, and name the header with its user, --user-header NAME"
        )
    if user_header is None:
        logger.warning("the page has no login: everybody who reaches it by %s can read it", reach)


def _access(user_header: str | None, payloads: "Payloads") -> "AccessDecision":
    from eventkit.web import ACTIONS, Access

    def by_header(request: "Request") -> "Access | None":
        names = request.headers.getlist(user_header or "")
        who = names[0].strip()[:200] if len(names) == 1 else ""  # two: the client has sent one of its own
        return Access(who=who, actions=ACTIONS, payloads=payloads) if who.isprintable() and who else None

    def operator(_: "Request") -> "Access":
        return Access(who=acting_user(), actions=ACTIONS, payloads=payloads)

    return by_header if user_header else operator
