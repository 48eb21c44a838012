"""A relay as operators run it: a process of its own."""

from collections.abc import Mapping
from pathlib import Path

from tests.process import EventkitProcess


class RelayProcess(EventkitProcess):
    """`eventkit relay run`."""

    def __init__(
        self,
        database_url: str,
        transport_url: str,
        log: Path,
        *words: str,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(database_url, transport_url, log, "relay", "run", *words, options=options)
