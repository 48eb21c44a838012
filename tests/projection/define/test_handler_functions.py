"""Functions that would be called in vain are refused where they are registered, on everything that takes one."""

import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from operator import attrgetter, itemgetter, methodcaller
from typing import Any

import pytest

from eventkit import (
    AggregateError,
    Catalog,
    CatalogError,
    Decider,
    EventkitError,
    EventStore,
    Handlers,
    Listener,
    ProcessManager,
    Responder,
    SqlProjection,
    UnknownEventType,
    retry_on_conflict,
)
from eventkit.aggregates.aggregate import Aggregate, evolve, fold_of
from eventkit.aggregates.snapshots import Snapshots
from eventkit.domain.functions import positional, unrun
from eventkit.errors import ProjectionError
from eventkit.projection.define.table import TableProjection
from eventkit.transports.local import LocalTransport
from tests.projection.shop import TOTALS, Left, Ordered, apply, letters, orders, rows, shop

STORE = EventStore(shop)


async def asynchronous(_one: Any, _two: Any) -> None:
    """Would never be awaited."""


async def asynchronous_generator(_one: Any, _two: Any) -> AsyncIterator[int]:
    """Would never be run."""
    yield 1


def generator(_one: Any, _two: Any) -> Iterator[int]:
    """Would never be run."""
    yield 1


class Callable2:
    """An object whose call is asynchronous."""

    async def __call__(self, _one: Any, _two: Any) -> None:
        """Would never be awaited."""


@contextlib.contextmanager
def managed(_one: Any, _two: Any) -> Iterator[int]:
    """Would never be entered."""
    yield 1


@functools.cache
def cached(_one: Any, _two: Any) -> None:
    """Would not run for an equal event."""


class Methods:
    """Functions of a class."""

    async def bound(self, _one: Any, _two: Any) -> None:
        """Would never be awaited."""

    @staticmethod
    async def static(_one: Any, _two: Any) -> None:
        """Would never be awaited."""


ASYNCHRONOUS = "is `async def`"
IN_VAIN: list[tuple[Any, str]] = [
    (asynchronous, "is `async def`"), (asynchronous_generator, "has a `yield`"), (generator, "has a `yield`"),
    (functools.partial(asynchronous), "is `async def`"), (Callable2(), "is `async def`"), (Callable2, "is a class"),
    (Methods().bound, "is `async def`"), (Methods.static, "is `async def`"),
    (Methods.__dict__["static"], "is `async def`"),
    (managed, "has a `yield`"), (functools.partial(managed), "has a `yield`"),
    (5, "is no function"), (None, "is no function"), ("place", "is no function"),
    (lambda: None, "takes 0 arguments"), (lambda *_args: None, "takes 0 arguments"),
    (lambda a, b, c, d: None, "takes 4 arguments"),  # noqa: ARG005 it is not called
    (lambda a, b, *, c: None, "needs 'c' by its name"), (functools.partial(asynchronous, 1, 2), "is `async def`"),  # noqa: ARG005 likewise
    (functools.partial(lambda a, b, c: None, 1, 2, 3), "takes 0 arguments"),  # noqa: ARG005 likewise
]  # fmt: skip
TAKERS: dict[str, Callable[[], Callable[[Any], object]]] = {
    "table projection": lambda: TableProjection("t", shop, table=TOTALS, key="customer").on(Ordered),
    "SQL projection": lambda: SqlProjection("t", shop).on(Ordered),
    "SQL projection, batch": lambda: SqlProjection("t", shop).on_batch(Ordered),
    "handlers": lambda: Handlers("t", shop).on(Ordered),
    "responder": lambda: Responder("t", STORE, categories=["price"]).on(Ordered),
    "process manager": lambda: ProcessManager("t", STORE, table=TOTALS, key="customer").on(Ordered),
    "listener": lambda: Listener(LocalTransport("t"), shop, categories=["price"]).on(Ordered),
    "listener, missed": lambda: Listener(LocalTransport("t"), shop, categories=["price"]).on_missed,
}


@pytest.mark.parametrize(("function", "words"), IN_VAIN)
@pytest.mark.parametrize("taker", TAKERS)
def test_a_function_that_would_be_called_in_vain_is_refused(taker: str, function: Any, words: str) -> None:
    """With its name, and an alternative."""
    if taker == "listener, missed" and ("takes" in words or "needs" in words):
        return  # it takes no arguments
    if words == ASYNCHRONOUS and taker != "table projection":
        return  # it is awaited
    with pytest.raises(ProjectionError, match=words):
        TAKERS[taker]()(function)


@pytest.mark.parametrize("taker", sorted(TAKERS.keys() - {"listener, missed", "SQL projection, batch"}))
def test_a_handler_that_a_cache_would_skip_is_refused(taker: str) -> None:
    """Two events may be equal; a key may be cached."""
    with pytest.raises(ProjectionError, match="is cached: it would not run for an event that equals an earlier one"):
        TAKERS[taker]()(cached)

    TableProjection("t", shop, table=TOTALS, key="customer").on(Ordered, key=cached)


@pytest.mark.parametrize(
    "function", [function for function, words in IN_VAIN if words == ASYNCHRONOUS and positional(function) == 2]
)
@pytest.mark.parametrize("taker", [taker for taker in TAKERS if taker != "table projection"])
def test_an_async_function_is_taken_by_all_that_await_it(taker: str, function: Any) -> None:
    """As a method, a partial and an object that can be called, too; with as many arguments as a plain one."""
    TAKERS[taker]()(functools.partial(function, 1, 2) if taker == "listener, missed" else function)

    with pytest.raises(ProjectionError, match="arguments"):
        TAKERS[taker]()(functools.partial(function, 1) if taker == "listener, missed" else lambda: function)


def test_an_async_function_needs_greenlet_for_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where it is declared, with the extra that brings it."""
    monkeypatch.setitem(sys.modules, "greenlet", None)

    for taker in ("SQL projection", "SQL projection, batch", "handlers", "responder"):
        with pytest.raises(ProjectionError, match=r"eventkit-outbox\[asyncio\]"):
            TAKERS[taker]()(asynchronous)


@pytest.mark.parametrize(("function", "words"), IN_VAIN)
def test_a_key_that_would_be_called_in_vain_is_refused(function: Any, words: str) -> None:
    """It takes the event, or the event and its envelope."""
    if function is None:
        return
    with pytest.raises(ProjectionError, match=words):
        TableProjection("t", shop, table=TOTALS, key="customer").on(Ordered, key=function)


@pytest.mark.parametrize(
    "key", [attrgetter("customer"), itemgetter(0), methodcaller("upper"), lambda e, v: (e, v), repr]
)
def test_a_key_may_be_anything_that_can_be_called_with_the_event(key: Any) -> None:
    """Built-in functions do not say how many arguments they take: they get the event."""
    TableProjection("t", shop, table=TOTALS, key="customer").on(Ordered, key=key)(lambda _row, _event: None)


@pytest.mark.parametrize(
    "taken",
    [
        TableProjection("t", shop, table=TOTALS, key="customer").on, SqlProjection("t", shop).on,
        SqlProjection("t", shop).on_batch, Handlers("t", shop).on, Responder("t", STORE, categories=["price"]).on,
        ProcessManager("t", STORE, table=TOTALS, key="customer").on,
        Listener(LocalTransport("t"), shop, categories=["price"]).on,
    ],
)  # fmt: skip
def test_a_type_that_the_catalog_does_not_have_is_refused_without_a_function(taken: Callable[[Any], object]) -> None:
    """So `@totals.on` without a class does not swallow the function."""
    with pytest.raises(UnknownEventType):
        taken(lambda _row, _event: None)


def test_an_async_function_behind_a_wrapper_is_detected_at_the_call(url: str) -> None:
    """A decorator that returns a coroutine parks the event: nothing was done."""
    totals = TableProjection("totals", shop, table=TOTALS, key="customer")
    totals.on(Ordered)(lambda row, event: asynchronous(row, event))  # noqa: PLW0108 as a decorator would return it
    totals.on(Left)(lambda row, event: generator(row, event))  # noqa: PLW0108 likewise

    apply(url, orders("order-1", 1), projection=totals)

    assert rows(url, "select * from totals") == []
    assert letters(url) == [("order-1", 1, "failed")]


@pytest.mark.parametrize(
    "result", [managed(1, 2), cached, functools.partial(cached, 1), len, Methods().bound, lambda: None]
)
def test_a_result_that_nobody_runs_is_a_failure(result: Any) -> None:
    """A context manager, or a function, as of a decorator without its parentheses."""
    assert unrun(result) in ("a context manager, which nobody enters", "a function, which nobody calls")


def test_a_wrapper_that_runs_an_asynchronous_function_is_taken() -> None:
    """It is a plain function around any function."""

    @functools.wraps(asynchronous)
    def wrapper(one: Any, two: Any) -> None:
        del one, two

    SqlProjection("t", shop).on(Ordered)(wrapper)


def test_aggregates_upcasters_and_policies_are_looked_at_as_well() -> None:
    """Each room has its own error."""

    class Cart(Aggregate):
        @evolve  # type: ignore[type-var]
        async def ordered(self, event: Ordered) -> None:
            """Would never be awaited."""

    catalog = Catalog("old")
    catalog.event(version=2)(Ordered)

    async def one(data: Any) -> Any:
        return data

    refused: list[tuple[type[EventkitError], Callable[[], object]]] = [
        (AggregateError, lambda: fold_of(Cart)),
        (AggregateError, lambda: Decider(dict, asynchronous, lambda state, _event: state, events=[Ordered])),  # type: ignore[arg-type]
        (AggregateError, lambda: Decider(dict, lambda _c, _s: [], asynchronous, events=[Ordered]).fold),
        (AggregateError, lambda: Snapshots(when=asynchronous)),  # type: ignore[arg-type]
        (AggregateError, lambda: retry_on_conflict(STORE.append, one)),  # type: ignore[arg-type]
        (CatalogError, lambda: catalog.upcast(Ordered, from_version=1)(one)),  # type: ignore[type-var]
    ]
    for kind, call in refused:
        with pytest.raises(kind, match="is `async def`"):
            call()
