"""A relay as operators run it: a process of its own."""

from pathlib import Path

from tests.process import EventkitProcess


class RelayProcess(EventkitProcess):
    """`eventkit relay run`."""

    def __init__(self, database_url: str, transport_url: str, log: Path, *options: str) -> None:
        super().__init__(database_url, transport_url, log, "relay", "run", *options)
