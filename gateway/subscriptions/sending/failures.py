"""Failures of calls to receivers, as sentences that say what was wrong, and what to do about it."""

from __future__ import annotations

import socket

import aiohttp

from gateway.origin.judged.connector import ResponseTooLong, refusal_in
from gateway.origin.unreachable import why_unreachable

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
    if isinstance(error, aiohttp.ClientConnectorError):
        why = f"{why_unreachable(error, patience_s)}; {_advice(error)}"
    else:
        why = _why_no_response(error)
    return DeliveryFailed(f"the receiver {why}", category)


def _advice(error: aiohttp.ClientConnectorError) -> str:
    """Return what to do where no connection was made."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "give it a valid certificate for its host name, with the whole chain"
    if isinstance(error, aiohttp.ClientSSLError):
        return "serve TLS 1.2 or newer at the port of the webhook's URL"
    if isinstance(error.os_error, socket.gaierror):
        return "correct the host name in the webhook's URL, or its records in DNS"
    return "start it, or correct the host and port in the webhook's URL"


def _why_no_response(error: Exception) -> str:
    """Return why a connection gave no response, and what to do, in words that follow its name."""
    if isinstance(error, ResponseTooLong):
        return "sent a response that is too long; answer with a status and a short body"
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "sent no valid response of HTTP/1.1; check what listens at the webhook's URL"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "sent a response that is not complete; see its log"
    return "closed the connection without a response; see its log"
