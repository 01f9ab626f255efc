"""The end of runs as an ASGI server stops, for applications that do not handle its lifespan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from headgate.runs.runs import Runs

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


def with_lifespan(application: Application, runs: Runs) -> Application:
    """Return an ASGI application that opens `runs`, and closes it when its server stops.

    Django's own application knows nothing of ASGI's *lifespan*, by which a server announces it.
    """

    async def whole(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(runs, receive, send)
        else:
            await application(scope, receive, send)

    return whole


async def _lifespan(runs: Runs, receive: Receive, send: Send) -> None:
    await receive()
    async with runs:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
