"""A request before a route's guard, on the ordinary way: before anything of it is looked up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.access.credentials import READING, Presented, present
from gateway.access.operations import READ, Need, needs
from gateway.cache.rendered import RenderedChunk
from gateway.errors import NO_STREAM, Forbidden, StreamNotFound, Unauthenticated
from gateway.protocol import cache_status
from gateway.protocol.target import split
from gateway.runtime.answer import Answered, Relayed
from gateway.telemetry import traffic as counted
from gateway.web import request_body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multidict import MultiMapping

    from gateway.access.contract import Guard
    from gateway.access.principal import Principal
    from gateway.runtime.context import Context
    from gateway.runtime.exchange import Exchange
    from gateway.runtime.route import StreamRoute
    from gateway.web.request import Request

TELLING_KEY = READING | {"PUT"}  # methods whose answers tell the reader key


class _Asked(NamedTuple):
    guard: Guard
    headers: MultiMapping[str]
    token: str | None
    needs: Sequence[Need]


async def admit(
    request: Request,
    exchange: Exchange,
    route: StreamRoute,
    path: str,
    target: str,
    clock: Callable[[], float],
) -> Presented:
    """The token that was accepted, and the target without it, once the route's guard lets it in.

    Raises Unauthenticated, Forbidden, or what conceals these.
    """
    guard = route.access.guard
    tells_key = route.access.reader_keys is not None and request.method in TELLING_KEY
    if guard is None:
        exchange.is_told_key = tells_key
        return Presented(None, target)
    admitted = request.fields.admitted
    if admitted is not None:  # whoever knew the fields has asked whether it still holds
        exchange.principal = admitted.principal
        read = Need(path, READ)
        exchange.is_told_key = tells_key and (
            request.method in READING or guard.still_admits(admitted.principal, (read,), clock())
        )
        route.traffic.decisions[counted.ADMITTED] += 1
        return Presented("", target)
    presented = present(request.method, target, request.headers)
    needed = needs(request.method, path, request.headers, split(presented.target)[1])
    asked = _Asked(guard, request.headers, presented.token, needed)
    exchange.principal = await _decided(asked, exchange, route, clock())
    exchange.is_told_key = tells_key and (request.method in READING or _may_read(asked, clock()))
    route.traffic.decisions[counted.ADMITTED] += 1
    if request.has_body and request_body.at_hand(request) is None:
        exchange.decide_again = partial(_decide_again, asked, route, clock)
    return presented


async def _decided(
    asked: _Asked, exchange: Exchange, route: StreamRoute, now: float
) -> Principal | None:
    """Whom the guard has let in, if not anybody."""
    guard, headers, token, needed = asked
    try:
        return _somebody(await guard.admit(headers, token, needed, now))
    except (Unauthenticated, Forbidden) as refusal:
        is_unknown = isinstance(refusal, Unauthenticated)
        kind = counted.UNAUTHENTICATED if is_unknown else counted.FORBIDDEN
        route.traffic.decisions[kind] += 1
        exchange.is_looked_up = False
        # Also where the client is told nothing of it, operators find out by the log.
        exchange.refused = f"{refusal.code}: {refusal.detail}"
        if not (is_unknown or guard.goes_by_query):
            exchange.principal = _somebody(guard.admitted(headers, token, (), now))
        if route.access.conceals:
            raise StreamNotFound(NO_STREAM) from None
        raise


def _may_read(asked: _Asked, now: float) -> bool:
    """Whether who asks for something else may read the stream, as far as that is known at once."""
    read = asked.needs[0]._replace(operations=READ)
    return asked.guard.admitted(asked.headers, asked.token, (read,), now) is not None


def _somebody(principal: Principal | None) -> Principal | None:
    return None if principal is None or principal.is_anybody else principal


async def _decide_again(
    asked: _Asked, route: StreamRoute, clock: Callable[[], float], exchange: Exchange
) -> None:
    """Raise as `admit` does where the credential counts no more, while a body still comes."""
    principal, now = exchange.principal, clock()
    if principal is not None and principal.until <= now:
        exchange.principal = await _decided(asked, exchange, route, now)


def concealed(answered: Answered, exchange: Exchange, shared: Context) -> Answered:
    """The answer; a 404 of a route that conceals is the same for a stream that is not there."""
    answer = answered.answer
    if not exchange.conceals or isinstance(answer, RenderedChunk) or answer.status != 404:
        return answered
    if isinstance(answer, Relayed) and not isinstance(answer.body, bytes):
        answer.body.release()
    return Answered(shared.problem(StreamNotFound(NO_STREAM)), cache_status.BYPASS)
