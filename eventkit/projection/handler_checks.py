"""Checks the functions that a service registers as handlers: their parameters when declared, their results when called.

A wrong function is refused with a sentence when it is registered, not at its first event.
"""

from collections.abc import Collection
from importlib.util import find_spec

from eventkit.domain.functions import is_asynchronous, is_cached, name_of, positional, refusal, unrun, wrong_parameters
from eventkit.errors import ProjectionError
from eventkit.projection.dispatch import Function, Step


def takes_envelope(function: Function, *, plain: int, projection: str, asynchronous: bool = False) -> bool:
    """Return whether a function takes the envelope as one argument more than `plain`.

    `asynchronous`: `async def` is allowed. Raise ProjectionError for another number of arguments.
    """
    more = f"{plain}, or {plain + 1} with the envelope"
    check_function(function, (plain, plain + 1), projection=projection, more=more, asynchronous=asynchronous)
    if is_cached(function):
        raise ProjectionError(
            f"{name_of(function)} of projection {projection!r} is cached: it would not run for an event that equals an "
            "earlier one; cache what it computes, not the handler"
        )
    return positional(function) == plain + 1


def check_function(
    function: object, counts: Collection[int], *, projection: str, more: str = "", asynchronous: bool = False
) -> None:
    """Raise ProjectionError for a function that would never run, or that takes another number of arguments."""
    wrong = refusal(function, asynchronous=asynchronous)
    if wrong is None and (parameters := wrong_parameters(function, counts)):
        wrong = f"{parameters}; it must take {more or ' or '.join(map(str, counts))}"
    if wrong:
        raise ProjectionError(f"{name_of(function)} of projection {projection!r} {wrong}")


def check_awaitable(function: object, *, projection: str) -> None:
    """Raise ProjectionError for an `async def` if greenlet, which SQLAlchemy's AsyncConnection needs, is missing."""
    if is_asynchronous(function) and find_spec("greenlet") is None:
        raise ProjectionError(
            f"{name_of(function)} of projection {projection!r} is `async def`, and SQLAlchemy's AsyncConnection needs "
            "greenlet: pip install 'eventkit-outbox[asyncio]'"
        )


def check_ran(step: Step, result: object) -> None:
    """Raise ProjectionError if a handler returned a generator, a coroutine or the like, which would never run."""
    unrun_kind = unrun(result)
    if unrun_kind:
        raise ProjectionError(
            f"the handler of {step.handler.type} returned {unrun_kind}: nothing was done; write a plain function"
        )
