"""Asks a registry for the schema of a type on a thread of its own, so that no caller waits long for a slow registry.

One request runs at a time. It keeps running when its caller has stopped waiting, and the next caller with the same
question gets its answer. While a registry sends its answer byte by byte, no other request is made.
"""

import threading
import time
from concurrent.futures import Future

from eventkit.errors import RegistryUnavailable
from eventkit.registry.client import RegisteredVersion, SchemaRegistry
from eventkit.registry.subjects import schema_version_in

Wanted = tuple[str, int]
"""A subject, and the schema version that its schema names."""

Answer = Future[RegisteredVersion | None]


class Lookup:
    """The questions to one registry."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._open: tuple[Wanted, Answer] | None = None

    def newest(self, wanted: Wanted, *, deadline: float) -> RegisteredVersion | None:
        """Return the newest version of a subject that names a schema version; None if there is none.

        `deadline` is on the monotonic clock. Raise RegistryUnavailable if there is no answer by then, or RegistryError
        for a wrong answer.
        """
        if self._open is not None and self._open[0] != wanted:
            self._await(*self._open, deadline)
            self._open = None  # an answer that nobody wants now
        if self._open is None:
            self._open = wanted, self._asked(wanted)
        question, answer = self._open
        self._await(question, answer, deadline)
        self._open = None
        return answer.result()

    def _await(self, question: Wanted, answer: Answer, deadline: float) -> None:
        try:
            answer.exception(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise RegistryUnavailable(
                f"the schema registry at {self._registry.place} has not answered yet about subject {question[0]!r}"
            ) from None

    def _asked(self, wanted: Wanted) -> Answer:
        answer: Answer = Future()

        def ask() -> None:
            try:
                answer.set_result(self._find(wanted))
            except BaseException as error:  # noqa: BLE001 the asker raises it
                answer.set_exception(error)

        threading.Thread(target=ask, name="schema registry", daemon=True).start()
        return answer

    def _find(self, wanted: Wanted) -> RegisteredVersion | None:
        subject, schema_version = wanted
        for number in reversed(self._registry.versions(subject)):
            version = self._registry.version(subject, number)
            if schema_version_in(version.schema) == schema_version:
                return version
        return None
