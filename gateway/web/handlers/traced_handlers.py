"""Handle requests with a span for each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.runtime.exchange import CLIENT_GONE
from gateway.stepped import outcome_of
from gateway.telemetry import tracing

if TYPE_CHECKING:
    from gateway.web.handlers.dispatch import Handlers
    from gateway.web.requests.request import Request
    from gateway.web.requests.responses import WireResponse
    from gateway.web.server_spans import ServerSpans


class TracedHandlers:
    """The handlers of a traced server: each request has a span, current while it is handled."""

    def __init__(self, handlers: Handlers, spans: ServerSpans) -> None:
        self._handlers = handlers
        self._spans = spans

    async def handle(self, request: Request) -> WireResponse:
        """Return the reply to a request; its span ends before the reply is sent."""
        span = self._spans.start(request)
        token = tracing.current.set(span)
        try:
            response = await self._response(request)
        except asyncio.CancelledError:
            span.failed("client_gone")
            raise
        else:
            if response.status == CLIENT_GONE:
                span.failed("client_gone")
            else:
                span.answered(response.status)
            return response
        finally:
            tracing.current.reset(token)
            span.end()

    async def _response(self, request: Request) -> WireResponse:
        try:
            answered = await outcome_of(self._handlers.handle(request))
        except Exception as error:
            refusal = self._handlers.refuse(request, error)
            if refusal is None:
                raise
            return refusal
        return self._handlers.answer(request, answered)

    def answer(self, _: Request, reply: WireResponse) -> WireResponse:
        """Return the reply that `handle` has made."""
        return reply

    def refuse(self, _: Request, _error: BaseException) -> None:
        """Return None: `handle` has made a reply of every error that has one."""
