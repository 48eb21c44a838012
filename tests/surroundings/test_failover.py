"""An asynchronous standby without the last transactions is promoted: relay and projector continue against it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.storage import migrate
from tests.projection.shop import CREATE
from tests.servers.postgres import binaries, default_release
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer
from tests.servers.standby import Standby, standby_of
from tests.surroundings.processes import MODELS, TIMEOUT, command, counted, running, sent
from tests.surroundings.read_models import CATEGORY
from tests.surroundings.rig import category, execute, found, order
from tests.waiting import wait_until

# Settlements wait on this server alone: acknowledged messages stay owed.
HOLD = """create function hold() returns trigger language plpgsql as
'begin perform pg_advisory_xact_lock_shared(42); return null; end';
create trigger hold before delete on eventkit.outbox for each statement execute function hold()"""


@pytest.fixture
def primary() -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, with eventkit's tables and the read model."""
    with EmbeddedPostgres(binaries=binaries(default_release()).folder) as server:
        migrate.upgrade(server.url)
        execute(server.url, CREATE)
        yield server


@pytest.fixture
def standby(primary: EmbeddedPostgres) -> Iterator[Standby]:
    """Its standby."""
    with standby_of(primary) as made:
        yield made


def test_a_failover_that_loses_commits(
    primary: EmbeddedPostgres, standby: Standby, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every event of the new primary is sent and applied, its positions' former owners settle none; forks show."""
    name = category(redis.url)
    monkeypatch.setenv(CATEGORY, name)
    address = primary.tcp_url()
    with Proxy(primary.port) as proxy, running(redis.url, tmp_path) as processes:
        url = address.replace(f":{primary.port}/", f":{proxy.port}/")
        relay, projector = processes.relay(url), processes.projector(url)
        order(primary.url, name, *range(10))
        counted(primary.url, 10)
        sent(primary.url)
        standby.catch_up()
        standby.cut_off()
        execute(primary.url, HOLD)
        with closing(psycopg.connect(primary.url)) as holding:
            holding.execute("select pg_advisory_lock(42)")
            order(primary.url, name, *range(10, 15))  # sent, applied and owed, but never on the standby
            counted(primary.url, 15)

            primary.crash()
        new = standby.server.url
        standby.promote()
        proxy.lead_to(standby.server.port)
        order(new, name, 12, *range(20, 26))  # the same positions, and once the same version

        sent(new)
        counted(new, 15 + 6)
        fork = "select stream from eventkit.dead_letters where cause = 'fork'"
        wait_until(lambda: found(new, fork) == [(f"{name}-12",)], timeout=TIMEOUT, what="the fork")
        wait_until(
            lambda: "from timeline 1 to 2" in relay.log() + projector.log(), timeout=TIMEOUT, what="the timeline"
        )
        assert f"{name}-12" in command(new, "projection", "verify", "totals", code=1)
        command(new, "projection", "rebuild", f"{MODELS}:totals", "--accept-lost")
        counted(new, 10 + 7)
        order(new, name, 30)
        counted(new, 18)
        command(new, "projection", "verify", "totals")
