"""An open loop, for any contestant: writers that keep to a schedule, and a receiver at the other end.

    schedule --number--> write, commit --(the contestant)--> receive        latency = received - committed

A contestant says how one event is written (`Opener`) and which topic it comes out of; the number of the event is in its
data as `number-42-`, however the contestant wraps it. Numbers are unique in a run, and number n belongs to stream
n % STREAMS, which one writer alone writes to: so lost, repeated and disordered events are seen here. Both clocks are
the machine's monotonic one.
"""

import math
import multiprocessing
import re
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from typing import Any, Self

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from benchmarks.laps import Lap, Load, Receipt, Writing, summary

STREAMS = 1_000
Write = Callable[[int], None]
"""Writes the event of a number, in a transaction of its own, and commits."""
Opener = Callable[[str, ExitStack], Write]
"""A module's function, called once in each writer: opens what it needs on a database."""

_NUMBER = re.compile(rb"number-(\d+)-")
_HEAD_START = 200_000_000  # nanoseconds until the start, which every process must know by then
_TIMEOUT = 20.0  # seconds after the last write until a missing event is lost
_HELD = 0.98  # of a rate, or more, is held
_STEP = 0.9  # of the rate that the writers reached: the next rate


class Process:
    """A function in a process of its own, that is sent tasks and answers each."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 those of `work`
        """Start it; `work` gets its end of a pipe first."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, task: object) -> None:
        """Send a task."""
        self._pipe.send(task)

    def answer(self) -> Any:  # noqa: ANN401 any answer of `work`
        """Wait for an answer."""
        return self._pipe.recv()

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


class OpenLoop:
    """The writers and the receiver of one contestant; leaves nothing running."""

    def __init__(self, opener: Opener, database_url: str, bootstrap: str, topic: str, *, writers: int = 4) -> None:
        """Choose a number of writers that divides the streams; nothing runs yet."""
        if STREAMS % writers:
            raise ValueError(f"{writers} writers cannot share {STREAMS} streams equally")
        self._writing = (opener, database_url)
        self._reading = (bootstrap, topic)
        self._count = writers
        self._next = STREAMS  # number of the next event: a multiple of STREAMS
        self._writers: list[Process] = []

    def __enter__(self) -> Self:
        """Start them."""
        self._receiver = Process(receive, *self._reading)
        self._writers = [Process(write, *self._writing) for _ in range(self._count)]
        for process in (self._receiver, *self._writers):
            process.answer()  # it is connected
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for process in (self._receiver, *self._writers):
            process.end()

    def lap(self, load: Load) -> Lap:
        """Put a load on it, and wait until everything has arrived or is lost."""
        numbers = self._numbers(load)
        begin = time.monotonic_ns() + _HEAD_START
        self._receiver.tell((numbers, begin + int((load.warm + load.seconds + _TIMEOUT) * 1e9)))
        return summary(load, begin, self._write(numbers, load, begin), self._receiver.answer())

    def highest(self, load: Load) -> int:
        """Return a rate that the writers hold: this load's or a lower one."""
        rate = load.rate
        while (written := self._trial(Load(rate, load.seconds, load.warm))) < rate * _HELD:
            rate = max(int(written * _STEP) // 100 * 100, 1)
        return rate

    def _trial(self, load: Load) -> float:
        """Return how many events a second are written, until the time is over; nobody waits for them."""
        begin = time.monotonic_ns() + _HEAD_START
        seconds = load.warm + load.seconds
        writings = self._write(self._numbers(load), load, begin, until=begin + int(seconds * 1e9))
        return sum(len(writing.committed) for writing in writings) / seconds

    def _numbers(self, load: Load) -> range:
        numbers = range(self._next, self._next + load.events)
        self._next = (numbers.stop // STREAMS + 1) * STREAMS
        return numbers

    def _write(self, numbers: range, load: Load, begin: int, *, until: float = math.inf) -> list[Writing]:
        every = 1e9 / load.rate
        for nth, writer in enumerate(self._writers):
            writer.tell((numbers[nth :: self._count], begin + nth * every, self._count * every, until))
        return [writer.answer() for writer in self._writers]


def write(pipe: Connection, opener: Opener, database_url: str) -> None:
    """Be a writer: write the numbers of each task, one every so many nanoseconds."""
    with ExitStack() as open_:
        write = opener(database_url, open_)
        pipe.send("connected")
        while True:
            numbers, begin, every, until = pipe.recv()
            begun, committed = array("q"), array("q")
            for nth, number in enumerate(numbers):
                now = time.monotonic_ns()
                if now < begin + nth * every:
                    time.sleep((begin + nth * every - now) / 1e9)
                elif now > until:
                    break
                begun.append(time.monotonic_ns())
                write(number)
                committed.append(time.monotonic_ns())
            pipe.send(Writing(begun, committed))


def receive(pipe: Connection, bootstrap: str, topic: str) -> None:
    """Be the receiver: take the numbers of each task out of a topic, until all have come or time is over."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "openloop", "enable.auto.commit": False}
    with closing(Consumer(settings)) as consumer:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in partitions])
        consumer.poll(1)
        pipe.send("connected")
        while True:
            numbers, deadline = pipe.recv()
            pipe.send(_receipt(consumer, numbers, deadline))


def _receipt(consumer: Consumer, numbers: range, deadline: int) -> Receipt:
    received, newest = array("q", bytes(8 * len(numbers))), [0] * STREAMS
    missing, repeated, reordered = len(numbers), 0, 0
    for number, now in _arrivals(consumer, deadline):
        if number not in numbers:
            continue  # of an earlier task, again
        if received[number - numbers.start]:
            repeated += 1
            continue
        received[number - numbers.start] = now
        missing -= 1
        reordered += number < newest[number % STREAMS]
        newest[number % STREAMS] = max(number, newest[number % STREAMS])
        if not missing:
            break
    return Receipt(received, repeated, reordered)


def _arrivals(consumer: Consumer, deadline: int) -> Iterator[tuple[int, int]]:
    """Yield number and time of each message. `poll`, not `consume(n, timeout)`, which waits for n messages."""
    while (now := time.monotonic_ns()) < deadline:
        message = consumer.poll(0.1)
        if message is None:
            continue
        now = time.monotonic_ns()
        if message.error():
            raise RuntimeError(f"the receiver cannot go on: {message.error()}")
        found = _NUMBER.search(message.value() or b"")
        if found:
            yield int(found[1]), now
