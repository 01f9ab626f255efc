"""Requests that last for minutes, and responses that end when their client loses its right."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gateway.access.principal import account_of
from gateway.errors import Forbidden, Unauthenticated
from gateway.live.admitted_readers import HeldRequest
from gateway.live.waiting_polls import NO_MORE
from gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from gateway.errors import HeadgateError
    from gateway.runtime.context import Context
    from gateway.runtime.exchange import RouteAnswer
    from gateway.web.requests.request import Request

# For a last event, which says why the body ends; a client that reads nothing is cut off then.
LAST_EVENT_S = 0.5


@runtime_checkable
class RefusableSource(Protocol):
    """The source of a body that can end with an event which says that the client has no right."""

    def refuse(self) -> None:
        """End the body with that event."""


async def held_answer(
    request: Request, shared: Context, answering: Coroutine[Any, Any, RouteAnswer]
) -> RouteAnswer:
    """Return a handler's answer, whose body is held, too.

    Raises the refusal, and cancels the handler, if the client loses its right before the head.
    """
    held, ending = _hold(request, shared)
    try:
        answered = await answering
    except asyncio.CancelledError:
        if held.ended is None:
            raise
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        raise _refusal(request, shared, held) from None
    return _with_last_event(ending, answered)


def held_stream(request: Request, shared: Context, answered: RouteAnswer) -> RouteAnswer:
    """Return an answer whose body ends with the right of its client."""
    _, ending = _hold(request, shared)
    return _with_last_event(ending, answered)


class _EarlyEnd:
    """The early end of a held request: with a last event, once it has a body that can have one."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self.source: RefusableSource | None = None
        self._cancel = cancel

    def __call__(self) -> None:
        if self.source is None:
            self._cancel()
        else:
            self.source.refuse()
            asyncio.get_running_loop().call_later(LAST_EVENT_S, self._cancel)


def _hold(request: Request, shared: Context) -> tuple[HeldRequest, _EarlyEnd]:
    """Hold a request until it is over: its client has received the response, or is gone."""
    address = shared.quotas.client_address(request.transport, request.headers)
    ending = _EarlyEnd(partial(request.connection.cancel_request, request))
    held = shared.held.hold(HeldRequest(exchange_of(request).principal, address, ending))
    request.call_at_end(partial(shared.held.let_go, held))
    return held, ending


def _with_last_event(ending: _EarlyEnd, answered: RouteAnswer) -> RouteAnswer:
    """Return an answer which ends with an event that says so, where its body can have one."""
    if answered.is_relayed and isinstance(answered.body, RefusableSource):
        ending.source = answered.body
    return answered


def _refusal(request: Request, shared: Context, held: HeldRequest) -> HeadgateError:
    """Return the error for a client that has lost its right while it waited."""
    if held.ended != "disconnected":
        return Unauthenticated(NO_MORE, is_refused=True)
    account = account_of(exchange_of(request).principal)
    banned = shared.bans.refusal(account, request.transport, request.headers)
    return banned or Forbidden("an operator has disconnected this client")
