"""The decision about a visitor: nothing, reading, or each action by its name.

`app(access=...)` takes a function of the request, which the service that mounts the page writes: it knows its users.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, get_args

from starlette.requests import Request

Action = Literal["redrive", "edit", "discard", "pause", "resume"]
Payloads = Literal["none", "masked", "full"]

ACTIONS: frozenset[Action] = frozenset(get_args(Action))
PAYLOADS: tuple[Payloads, ...] = get_args(Payloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rights of a visitor: to read every screen, to do `actions`, and to see data of events.

    `who` is the name in the record of actions. `payloads` says how much of an event's data the visitor may see:
    nothing (`none`), the names of its fields (`masked`), or all of it, on request (`full`).
    """

    who: str
    actions: frozenset[Action] = frozenset()
    payloads: Payloads = "masked"


AccessDecision = Callable[[Request], Access | Awaitable[Access | None] | None]


def reads(request: Request) -> Access:  # noqa: ARG001 the same for each request
    """Allow each visitor to read, and none to act."""
    return Access(who="anonymous")
