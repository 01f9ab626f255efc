"""A request before a route's guard, on the ordinary way: before anything of it is looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.credentials import Presented, present
from gateway.access.operations import needs
from gateway.cache.rendered import RenderedChunk
from gateway.errors import Forbidden, StreamNotFound, Unauthenticated
from gateway.protocol import cache_status
from gateway.protocol.target import split
from gateway.runtime.answer import Answered, Relayed
from gateway.telemetry import traffic as counted

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

    from gateway.runtime.context import Context
    from gateway.runtime.exchange import Exchange
    from gateway.runtime.route import StreamRoute

ABSENT = "there is no stream at this path"


async def admit(
    request: BaseRequest, exchange: Exchange, route: StreamRoute, path: str, target: str, now: float
) -> Presented:
    """The token that was accepted, and the target without it, once the route's guard lets it in.

    Raises Unauthenticated, Forbidden, or what conceals these.
    """
    guard = route.access.guard
    if guard is None:
        return Presented(None, target)
    presented = present(request.method, target, request.headers)
    decisions = route.traffic.decisions
    try:
        needed = needs(request.method, path, request.headers, split(presented.target)[1])
        principal = await guard.admit(request.headers, presented.token, needed, now)
    except (Unauthenticated, Forbidden) as refusal:
        is_unknown = isinstance(refusal, Unauthenticated)
        decisions[counted.UNAUTHENTICATED if is_unknown else counted.FORBIDDEN] += 1
        exchange.is_looked_up = False
        # Also where the client is told nothing of it, operators find out by the log.
        exchange.refused = f"{refusal.code}: {refusal.detail}"
        if not (is_unknown or guard.goes_by_query):
            known = guard.admitted(request.headers, presented.token, (), now)
            exchange.principal = None if known is None or known.is_anybody else known
        if route.access.conceals:
            raise StreamNotFound(ABSENT) from None
        raise
    decisions[counted.ADMITTED] += 1
    exchange.principal = None if principal.is_anybody else principal
    return presented


def concealed(answered: Answered, exchange: Exchange, shared: Context) -> Answered:
    """The answer; a 404 of a route that conceals is the same for a stream that is not there."""
    answer = answered.answer
    if not exchange.conceals or isinstance(answer, RenderedChunk) or answer.status != 404:
        return answered
    if isinstance(answer, Relayed) and not isinstance(answer.body, bytes):
        answer.body.release()
    return Answered(shared.problem(StreamNotFound(ABSENT)), cache_status.BYPASS)
