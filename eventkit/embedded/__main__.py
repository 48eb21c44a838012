"""Start an embedded PostgreSQL and an embedded Kafka for first steps, print their URLs, and run until Ctrl-C.

    $ python -m eventkit.embedded
    export EVENTKIT_DATABASE_URL=postgresql://postgres@:21034/postgres?host=%2Ftmp%2Feventkit-postgres-8f2k1x
    export EVENTKIT_TRANSPORT_URL=kafka://127.0.0.1:33219

The two lines go to standard output, all other text to standard error.
"""

import signal
import sys

import click

from eventkit.embedded.kafka import NOTICE, EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import EmbeddedUnavailable

ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def main() -> int:
    """Run both servers until a signal ends them; return an exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # before any thread starts, so that only sigwait takes them
    try:
        with EmbeddedPostgres() as postgres, EmbeddedKafka() as kafka:
            _print_urls(postgres, kafka)
            signal.sigwait(ENDS)
    except EmbeddedUnavailable as error:
        click.echo(str(error), err=True)
        return 1
    click.echo("stopped; their data is gone", err=True)
    return 0


def _print_urls(postgres: EmbeddedPostgres, kafka: EmbeddedKafka) -> None:
    click.echo(
        f"PostgreSQL {postgres.version}, and an {NOTICE}; paste these lines into your other terminals:", err=True
    )
    click.echo(f"export EVENTKIT_DATABASE_URL={postgres.url}")
    click.echo(f"export EVENTKIT_TRANSPORT_URL={kafka.url}")
    click.echo("Ctrl-C ends both and removes their data.", err=True)


if __name__ == "__main__":
    sys.exit(main())
