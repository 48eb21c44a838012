"""The answers of a worker's endpoint: /livez, /readyz, /startupz and /metrics.

/livez     200 while every loop moves or waits for something named; asks neither database nor broker
/readyz    200 while everything that the worker needs is there; 503 with the reasons
/startupz  200 once the worker has begun its work
/metrics   the metrics in the text format of Prometheus
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from eventkit.health.kept_answer import KeptAnswer, Unanswered
from eventkit.health.readiness import Condition, Conditions, Readiness
from eventkit.health.server import Response
from eventkit.observability import liveness

_PATHS = "/livez /readyz /startupz /metrics"
_METRICS_KEPT = 1.0  # seconds for which the same text of metrics is given
_METRICS_WAIT = 6.0  # seconds that a scrape waits for an answer


class Endpoints:
    """The endpoint of one worker process."""

    def __init__(
        self, readiness: Readiness, render: Callable[[], tuple[bytes, str]], *, stopping: Callable[[], bool]
    ) -> None:
        """Answer with these checks; `render` returns the metrics, `stopping` whether the worker ends."""
        self._readiness = readiness
        self._metrics = KeptAnswer(render, fresh=_METRICS_KEPT, stale=_METRICS_KEPT, patience=_METRICS_WAIT)
        self._stopping = stopping
        self._is_started = False
        self._routes: dict[str, Callable[[], Response]] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/startupz": self._started,
            "/metrics": self._page,
        }

    def started(self) -> None:
        """Answer from now on that the worker has begun its work."""
        self._is_started = True

    def answer(self, path: str) -> Response:
        """Return the response to a path."""
        route = self._routes.get(path)
        return route() if route else Response(HTTPStatus.NOT_FOUND, f"there are {_PATHS}\n".encode())

    def _live(self) -> Response:
        loops = liveness.report()
        stuck = [each for each in loops if each.is_stuck]
        shown = [{**each._asdict(), "seconds": round(each.seconds, 3), "is_stuck": each.is_stuck} for each in loops]
        reasons = [
            f"{each.loop} has waited for {each.waits_for} for {each.seconds:.1f} s, and may for {each.limit:g} s"
            for each in stuck
        ]
        return _json(not stuck, {"live": not stuck, "reasons": reasons, "loops": shown})

    def _ready(self) -> Response:
        conditions: Conditions = {}
        if self._stopping():
            conditions["process"] = Condition(ok=False, reason="it was asked to stop")
        elif not self._is_started:
            conditions["process"] = Condition(ok=False, reason="it is starting")
        conditions |= self._readiness.conditions()
        is_ready = all(condition.ok for condition in conditions.values())
        return _json(
            is_ready, {"ready": is_ready, "checks": {name: each._asdict() for name, each in conditions.items()}}
        )

    def _started(self) -> Response:
        return _json(self._is_started, {"started": self._is_started})

    def _page(self) -> Response:
        try:
            body, content_type = self._metrics.get()
        except Unanswered as error:
            return Response(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())
        return Response(HTTPStatus.OK, body, content_type)


def _json(ok: bool, body: dict[str, Any]) -> Response:  # noqa: FBT001 the one question of a probe
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, json.dumps(body).encode() + b"\n", "application/json")
