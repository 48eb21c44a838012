"""No stall: an open, forgotten or dead transaction in the database delays only its own events."""

import pytest

from tests.faults.no_stall import measure
from tests.servers.postgres import PostgresServer


@pytest.mark.both_postgres
def test_a_poll_costs_the_same_beside_everything_that_stalls_others(postgres: PostgresServer) -> None:
    """Within 1.5 times, also after a restart amid all that; each event is there at the first poll after its commit."""
    server = PostgresServer.start(int(postgres.version.partition(".")[0]))  # on disk: a poll waits for a flush, too
    try:
        polls = measure(server)
    finally:
        server.stop()
    print(polls, f"ratio {polls.ratio:.2f}")  # noqa: T201 the figure, with -s

    assert polls.ratio < 1.5, polls
    assert polls.late == [1, 1, 2]
