"""Who writes: one transaction an event for the open loop, and several writers at the same streams at once.

The second is how services write. A transaction inserts a row of its own, raises the version of the stream's state,
which locks it, and inserts the event with that version; one in ten is rolled back. So transactions of one stream commit
in the order of their versions, and not in that of their transaction ids or of the times they began.
"""

import random
import time
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection

import psycopg

from benchmarks.openloop import STREAMS, Opener, Process, Write
from benchmarks.peers.contestant import Inserter

_WRITERS = 8
_SHARED = 40  # streams that all of them write to
_ROLLED_BACK = 0.1
_TABLES = f"""
create table journal (id bigint generated always as identity primary key, stream int);
create table state (stream int primary key, version int not null);
insert into state select stream, 0 from generate_series(0, {_SHARED - 1}) stream
"""


def opener(inserter: Inserter) -> Opener:
    """Return the function that the open loop's writers call."""
    return partial(_opened, inserter)


def contend(inserter: Inserter, database_url: str, seconds: float) -> AbstractSet[int]:
    """Let all writers write for some seconds; return the numbers of the committed events."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_TABLES)
        processes = [Process(_contend, inserter, database_url, seed) for seed in range(_WRITERS)]
        for process in processes:
            process.answer()  # it is connected
        end = time.monotonic() + seconds
        for process in processes:
            process.tell(end)
        for process in processes:
            process.answer()
            process.end()
        reached = connection.execute("select stream, version from state").fetchall()
    return {nth * STREAMS + stream for stream, version in reached for nth in range(1, version + 1)}


def _opened(inserter: Inserter, database_url: str, open_: ExitStack) -> Write:
    connection, insert = open_.enter_context(psycopg.connect(database_url)), inserter()

    def write(number: int) -> None:
        insert(connection, number)
        connection.commit()

    return write


def _contend(pipe: Connection, inserter: Inserter, database_url: str, seed: int) -> None:
    chance, insert = random.Random(seed), inserter()
    with psycopg.connect(database_url) as connection:
        pipe.send("connected")
        end = pipe.recv()
        while time.monotonic() < end:
            stream = chance.randrange(_SHARED)
            connection.execute("insert into journal (stream) values (%s)", [stream])
            raised = connection.execute(
                "update state set version = version + 1 where stream = %s returning version", [stream]
            )
            for (version,) in raised.fetchall():
                insert(connection, version * STREAMS + stream)
            if chance.random() < _ROLLED_BACK:
                connection.rollback()
            else:
                connection.commit()
    pipe.send("done")
