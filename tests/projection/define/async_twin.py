"""Turns plain handlers into `async def` ones, so that the same test holds for both."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from eventkit.domain.functions import is_asynchronous, positional
from eventkit.messaging.responder import Responder
from eventkit.projection.define.sql import SqlProjection

_WITH_ENVELOPE = 3


def twin(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `async def` that does on an AsyncConnection the work of a function on a Connection."""

    async def work(connection: AsyncConnection, *rest: object) -> object:
        await asyncio.sleep(0)
        return await connection.run_sync(lambda synchronous: function(synchronous, *rest))

    async def plain(connection: AsyncConnection, event: object) -> object:
        return await work(connection, event)

    async def enveloped(connection: AsyncConnection, event: object, envelope: object) -> object:
        return await work(connection, event, envelope)

    return enveloped if positional(function) == _WITH_ENVELOPE else plain


def make_twins(patch: pytest.MonkeyPatch) -> None:
    """Let each plain handler that is registered from now on be an `async def`."""
    for kind, name in ((SqlProjection, "on"), (SqlProjection, "on_batch"), (Responder, "on")):
        patch.setattr(kind, name, _registering_twins(getattr(kind, name)))


def _registering_twins(on: Callable[..., Any]) -> Callable[..., Any]:
    def registering(projection: object, cls: type, **policy: object) -> Callable[..., Any]:
        register = on(projection, cls, **policy)

        def take(function: Callable[..., Any]) -> Callable[..., Any]:
            register(function if is_asynchronous(function) else twin(function))
            return function

        return take

    return registering
