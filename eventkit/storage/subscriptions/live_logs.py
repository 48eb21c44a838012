"""The live logs of one store, one for each database, and the sessions of the followers that are behind them."""

import threading
from collections import defaultdict

from eventkit.storage.db import connect
from eventkit.storage.outbox import READING
from eventkit.storage.privacy import Encryption
from eventkit.storage.subscriptions.beginning import Beginning, beginning_now
from eventkit.storage.subscriptions.live_log import LiveLog, Log
from eventkit.storage.subscriptions.lone_logs import LoneLogs


class LiveLogs:
    """The live logs of one store, one for each database."""

    def __init__(self, schema: str, sealing: Encryption) -> None:
        self._schema = schema
        self._sealing = sealing
        self._logs: dict[str, LiveLog] = {}
        self._lone: defaultdict[str, LoneLogs] = defaultdict(LoneLogs)
        self._lock = threading.Lock()

    def open(self, url: str, after: int) -> Log:
        """Open a log above a position."""
        return Log(url, self._schema, self._sealing, after)

    def lone(self, url: str) -> LoneLogs:
        """Return the sessions of followers that read alone."""
        with self._lock:
            return self._lone[url]

    def now(self, url: str) -> Beginning:
        """Return the place at which a follower of new events begins; the shared log may be behind it, or ahead."""
        with connect(url, name="subscribe", schema=None, autocommit=True, options=READING) as connection:
            return beginning_now(connection, self._schema)

    def follow(self, url: str, after: int, follower: object) -> LiveLog:
        """Return the shared log of a database; start it at `after` where no follower has one yet."""
        with self._lock:
            log = self._logs.get(url)
            if log is not None:
                log.followers.add(follower)
            if log is None or not log.is_running:  # it has ended, or this process was forked from the one that has it
                log = self._logs[url] = LiveLog(lambda position: self.open(url, position), after)
                log.followers.add(follower)
                log.start()
            return log
