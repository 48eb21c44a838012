"""eventkit's transport to each broker beside that client's own fastest confirmed way, in the same run.

A broker is a module here: how its client alone publishes with confirmations and consumes with acknowledgements, the
same messages in the same form to the same kind of topic or queue. `ours` is the transport seam.
"""

import click


def __getattr__(name: str) -> click.Command:
    """Load the command when it is asked for: the contestants' processes, which load this package too, do without."""
    if name != "command":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from benchmarks.transports.cli import command  # noqa: PLC0415 see above

    return command
