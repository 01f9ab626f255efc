"""Writes on the ordinary way count for their client, before their bodies are taken."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

    from gateway.runtime.exchange import Exchange
    from gateway.runtime.quotas import Quotas


def charge(request: BaseRequest, exchange: Exchange, quotas: Quotas) -> None:
    """Count an append or a creation; raises where its client does too much.

    Of a body that does not tell its length the bytes are counted when it is over.
    """
    account = "" if exchange.principal is None else exchange.principal.account
    if request.method == "PUT":
        quotas.create(request.transport, request.headers, account)
    elif request.method == "POST":
        who = quotas.may_append(request.transport, request.headers, account)
        quotas.appended(who, request.content_length or 0)
        if request.content_length is None and who is not None:
            exchange.on_received = partial(quotas.appended_more, who)
