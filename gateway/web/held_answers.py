"""Requests that last for minutes, and responses that end when their client loses its right."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gateway.access.principal import account_of
from gateway.errors import Forbidden, Unauthenticated
from gateway.live.admitted_readers import HeldRequest
from gateway.live.waiting_polls import NO_MORE
from gateway.runtime.answer import BodySource, RelayedResponse
from gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from gateway.errors import HeadgateError
    from gateway.runtime.answer import RouteAnswer
    from gateway.runtime.context import Context
    from gateway.web.requests.request import Request

# For a last event, which says why the body ends; a client that reads nothing is cut off then.
LAST_EVENT_S = 0.5


@runtime_checkable
class RefusableSource(Protocol):
    """The source of a body that can end with an event which says that the client has no right."""

    def refuse(self) -> None:
        """End the body with that event."""


class HeldBody:
    """A body that ends with the right of its client."""

    def __init__(self, source: BodySource, shared: Context, held: HeldRequest) -> None:
        self._source = source
        # Also for a client that leaves before the first part.
        weakref.finalize(self, shared.held.let_go, held).atexit = False

    def parts(self) -> AsyncIterator[bytes]:
        """Return an iterator over the parts of the source."""
        return self._source.parts()

    def release(self) -> None:
        """Give up the rest of the source."""
        self._source.release()


async def held_answer(
    request: Request, shared: Context, answering: Coroutine[Any, Any, RouteAnswer]
) -> RouteAnswer:
    """Return a handler's answer, whose body is held, too.

    Raises the refusal, and cancels the handler, if the client loses its right before the head.
    """
    held = _hold(request, shared)
    try:
        answered = await answering
    except asyncio.CancelledError:
        shared.held.let_go(held)
        if held.ended is None:
            raise
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        raise _refusal(request, shared, held) from None
    except BaseException:
        shared.held.let_go(held)
        raise
    return _with_held_body(shared, held, answered)


def with_held_body(request: Request, shared: Context, answered: RouteAnswer) -> RouteAnswer:
    """Return an answer whose body ends with the right of its client."""
    return _with_held_body(shared, _hold(request, shared), answered)


def _hold(request: Request, shared: Context) -> HeldRequest:
    address = shared.quotas.client_address(request.transport, request.headers)
    cancel = partial(request.connection.cancel_request, request)
    return shared.held.hold(HeldRequest(exchange_of(request).principal, address, cancel))


def _with_held_body(shared: Context, held: HeldRequest, answered: RouteAnswer) -> RouteAnswer:
    answer = answered.answer
    if not isinstance(answer, RelayedResponse) or isinstance(answer.body, bytes):
        shared.held.let_go(held)
        return answered
    source, cancel = answer.body, held.on_end
    if isinstance(source, RefusableSource):
        refuse = source.refuse

        def end() -> None:
            refuse()
            asyncio.get_running_loop().call_later(LAST_EVENT_S, cancel)

        held.on_end = end
    return answered._replace(answer=answer._replace(body=HeldBody(source, shared, held)))


def _refusal(request: Request, shared: Context, held: HeldRequest) -> HeadgateError:
    """Return the error for a client that has lost its right while it waited."""
    if held.ended != "disconnected":
        return Unauthenticated(NO_MORE, is_refused=True)
    account = account_of(exchange_of(request).principal)
    banned = shared.bans.refusal(account, request.transport, request.headers)
    return banned or Forbidden("an operator has disconnected this client")
