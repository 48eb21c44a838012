"""eventkit beside its peers: the same backlog and the same load through each, and a check of the delivered messages.

A peer is a module here: how its outbox row is written, and how its own program, set up as its documentation advises,
is started. Everything it needs is fetched or built at its first use, outside of eventkit's own environment.
"""

import click


def __getattr__(name: str) -> click.Command:
    """Load the command when it is asked for: the writers' processes, which load this package too, start without it."""
    if name != "command":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from benchmarks.peers.cli import command  # noqa: PLC0415 see above

    return command
