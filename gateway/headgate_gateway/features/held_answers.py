"""Requests that last for minutes, and responses that end when their client loses its right."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from headgate_gateway.access.principal import account_of
from headgate_gateway.errors import Forbidden, Unauthenticated
from headgate_gateway.live.long_polls import NO_MORE
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.routes.services import Services
    from headgate_gateway.telemetry.traffic import Ended
    from headgate_gateway.web.requests.request import Request

# For a last event, which says why the body ends; a client that reads nothing is cut off then.
LAST_EVENT_S = 0.5


@runtime_checkable
class RefusableSource(Protocol):
    """The source of a body that can end with an event which says that the client has no right."""

    def refuse(self) -> None:
        """End the body with that event."""


async def held_answer(
    request: Request, services: Services, answering: Coroutine[Any, Any, RouteAnswer]
) -> RouteAnswer:
    """Return a handler's answer, whose body is held, too.

    Raises the refusal, and cancels the handler, if the client loses its right before the head.
    """
    held = HeldRequest(request, services)
    try:
        answered = await answering
    except asyncio.CancelledError:
        if held.ended is None:
            raise
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        raise _refusal(request, services, held) from None
    return held.with_last_event(answered)


def held_stream(request: Request, services: Services, answered: RouteAnswer) -> RouteAnswer:
    """Return an answer whose body ends with the right of its client."""
    return HeldRequest(request, services).with_last_event(answered)


class HeldRequest:
    """A request that may be ended early: with a last event, once it has a body that can have one.

    It is held until its client has received the response, or is gone. `ended` says why it had to
    end early, if it had to.
    """

    def __init__(self, request: Request, services: Services) -> None:
        self.principal = principal = exchange_of(request).principal
        self.address = services.quotas.client_address(request.transport, request.headers)
        self.ended: Ended | None = None
        self._source: RefusableSource | None = None
        self._cancel = request.cancel
        services.held.add(self)
        request.call_at_end(partial(services.held.discard, self))
        if principal is not None:
            services.admitted.add(self, principal, self.end)
            request.call_at_end(partial(services.admitted.discard, self, principal))

    def end(self, ended: Ended) -> None:
        """End the request early."""
        if self.ended is not None:
            return
        self.ended = ended
        if self._source is None:
            self._cancel()
        else:
            self._source.refuse()
            asyncio.get_running_loop().call_later(LAST_EVENT_S, self._cancel)

    def with_last_event(self, answered: RouteAnswer) -> RouteAnswer:
        """Return an answer which ends with an event that says so, where its body can have one."""
        if answered.is_relayed and isinstance(answered.body, RefusableSource):
            self._source = answered.body
        return answered


def _refusal(request: Request, services: Services, held: HeldRequest) -> HeadgateError:
    """Return the error for a client that has lost its right while it waited."""
    if held.ended != "disconnected":
        return Unauthenticated(NO_MORE, is_refused=True)
    account = account_of(exchange_of(request).principal)
    banned = services.bans.refusal(account, request.transport, request.headers)
    return banned or Forbidden("an operator has disconnected this client")
