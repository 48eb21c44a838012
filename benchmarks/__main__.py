"""`python -m benchmarks RUN`: eventkit beside the raw speed of this machine, on real servers; `--help` lists the runs.

Each run starts a PostgreSQL and an Apache Kafka of its own on free ports unless URLs are given. It alternates the
contestants in one run, prints a table, and with --json one object on the last line. A run is `command` in the module of
its name.
"""

import importlib

import click

_RUNS = {
    "relay": "Drain a backlog to Kafka.",
    "latency": "Follow an event from its commit to the consumer; and an idle relay.",
    "append": "Append events in transactions.",
    "drivers": "Append over each asynchronous driver of a service.",
    "subscribe": "Follow an event from its commit to a live subscription.",
    "codec": "Encode and decode events, plain ones and the worst.",
    "consume": "Follow a topic with projectors.",
    "memory": "See the peak of each process's memory, with large events and small ones.",
    "rebuild": "Rebuild read models from the store, and load an aggregate.",
    "scale": "Grow what there is of everything, and see what stays flat.",
    "insights": "Ask about a large store, and see how long each answer takes.",
    "transports": "Publish to and consume from each broker, beside its client's own fastest confirmed way.",
    "peers": "Carry the same events through eventkit and its peers.",
}


class Runs(click.Group):
    """Loads a run when it is called: each wants other libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(_RUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        if cmd_name not in _RUNS:
            return None
        command: click.Command = importlib.import_module(f"benchmarks.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 likewise
        with formatter.section("Commands"):
            formatter.write_dl(list(_RUNS.items()))


@click.group(cls=Runs)
def main() -> None:
    """Measure eventkit beside the raw speed of this machine."""


if __name__ == "__main__":
    main()
