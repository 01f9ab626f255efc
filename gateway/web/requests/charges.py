"""Count writes against the quotas of their clients, before their bodies are received."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.access.operations import SAFE
from gateway.access.principal import account_of
from gateway.runtime.shedding import APPENDS

if TYPE_CHECKING:
    from gateway.runtime.exchange import Exchange
    from gateway.runtime.quotas import Quotas
    from gateway.web.requests.request import Request


def charge(request: Request, exchange: Exchange, quotas: Quotas) -> None:
    """Count a write against its client's quotas: a creation, or an append for all other methods.

    Raises ClientLimitReached over a quota, and LimitReached while the server sheds load.
    Bytes are counted by the announced length, up to `max_append`; more only as they come.
    """
    if request.method in SAFE:
        return
    if quotas.shedding.level:
        quotas.shedding.check(APPENDS)
    if not (quotas.bounds_appends or quotas.bounds_creations):
        return
    account = account_of(exchange.principal)
    if request.method == "PUT":
        who = quotas.create(request.connection.transport, request.fields.headers, account)
    else:
        who = quotas.append(request.connection.transport, request.fields.headers, account)
    if who is not None:
        announced = min(request.content_length or 0, quotas.limits.max_append)
        quotas.received(who, announced)
        exchange.on_received = partial(_charge_more, quotas, who, announced)


def _charge_more(quotas: Quotas, who: str, counted: int, size: int) -> None:
    """Count the bytes of a body beyond those that were counted in advance."""
    quotas.received(who, max(0, size - counted))
