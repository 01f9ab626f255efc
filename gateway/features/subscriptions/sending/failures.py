"""Failures of calls to receivers, as sentences that say what was wrong, and what to do about it."""

from __future__ import annotations

import socket

import aiohttp

from gateway.features.judged_connector import ResponseTooLong, refusal_in
from gateway.origin.requests import why_no_response

UNREACHABLE = "connection_refused"  # the category of a failure that has no other one
_MOVED = "give the URL that it redirects to: redirects are not followed"
_MISSED = "correct the path in the webhook's URL, or let it take POST there"
# What to do about statuses. The response itself may say more, and is not shown: whoever subscribes
# could read what any server says.
_REFUSED = {
    **dict.fromkeys((301, 302, 303, 307, 308), _MOVED),
    **dict.fromkeys((401, 403), "see in its log why it refuses the request"),
    **dict.fromkeys((404, 405), _MISSED),
}


class DeliveryFailed(Exception):
    """A call that came to nothing; `detail` has nothing of the response or of the URL's path.

    `category` is the kind of failure as MCP Events names it.
    """

    def __init__(self, detail: str, category: str = UNREACHABLE) -> None:
        super().__init__(detail)
        self.detail = detail
        self.category = category


def refusal_of(status: int) -> str:
    """Return the reason of a failure where a receiver answers with a status that is not 2xx."""
    return f"the receiver answered {status}; {_REFUSED.get(status, 'see its log')}"


def failure_of(error: Exception, patience_s: float) -> DeliveryFailed:
    """Return the failure of a call of `patience_s` at most that an error has ended."""
    refusal = refusal_in(error)
    if refusal is not None:
        return DeliveryFailed(refusal.detail)
    if isinstance(error, TimeoutError):
        late = f"the receiver did not answer within {patience_s:g} s"
        return DeliveryFailed(f"{late}; answer at once, and work behind the answer", "timeout")
    category = "tls_error" if isinstance(error, aiohttp.ClientSSLError) else UNREACHABLE
    is_long = isinstance(error, ResponseTooLong)
    why = "sent a response that is too long" if is_long else why_no_response(error, patience_s)
    return DeliveryFailed(f"the receiver {why}; {_advice(error)}", category)


def _advice(error: Exception) -> str:
    """Return what to do where a call got no response."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _advice_to_connect(error)
    if isinstance(error, ResponseTooLong):
        return "answer with a status and a short body"
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "check what listens at the webhook's URL"
    return "see its log"


def _advice_to_connect(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "give it a valid certificate for its host name, with the whole chain"
    if isinstance(error, aiohttp.ClientSSLError):
        return "serve TLS 1.2 or newer at the port of the webhook's URL"
    if isinstance(error.os_error, socket.gaierror):
        return "correct the host name in the webhook's URL, or its records in DNS"
    return "start it, or correct the host and port in the webhook's URL"
