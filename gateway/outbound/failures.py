"""The failures of outbound requests: a kind for code and metrics, and words for people."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp

from gateway.open_files import NoFileLeft
from gateway.origin.requests import why_unreachable
from gateway.outbound.connections import AddressRefused, ResponseTooLong

if TYPE_CHECKING:
    from gateway.telemetry.outbound import FailureKind


class InvalidStatus(ValueError):
    """The error for a response whose status has no meaning."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered with the status {status:03}, which has no meaning")


_OF_CONNECTIONS: tuple[tuple[type[Exception], FailureKind, str], ...] = (
    (NoFileLeft, "unreachable", "was not connected to, as open_files is reached"),
    (ResponseTooLong, "too_long", "sent a response that is too long"),
    (aiohttp.ClientPayloadError, "broken", "sent a response that is not complete"),
    (aiohttp.ClientResponseError, "invalid", "sent no valid response of HTTP/1.1"),
    (ValueError, "invalid", "sent no valid response of HTTP/1.1"),
    (Exception, "broken", "closed the connection without a response"),
)


class NoResponse(Exception):
    """A request without a response.

    `why` follows the name of the server, as in "did not answer within 5 s"; it has no address, no
    URL and none of the server's own words. That of the kind `refused` is a sentence about the
    address.
    """

    def __init__(self, kind: FailureKind, why: str) -> None:
        super().__init__(why)
        self.kind: FailureKind = kind
        self.why = why


def failure_of(error: Exception, timeout_s: float) -> NoResponse:
    """Return the failure of a request of `timeout_s` at most that an error has ended."""
    if isinstance(cause := getattr(error, "os_error", None), AddressRefused):
        return NoResponse("refused", str(cause))
    if isinstance(error, aiohttp.ClientConnectorError | ssl.SSLError):
        return NoResponse(_kind_unreachable(error), why_unreachable(error, timeout_s))
    if isinstance(error, InvalidStatus):
        return NoResponse("invalid", str(error))
    if isinstance(error, TimeoutError):
        return NoResponse("timeout", f"did not answer within {timeout_s:g} s")
    return next(NoResponse(kind, why) for of, kind, why in _OF_CONNECTIONS if isinstance(error, of))


def _kind_unreachable(error: aiohttp.ClientConnectorError | ssl.SSLError) -> FailureKind:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    return "name" if isinstance(error.os_error, socket.gaierror) else "unreachable"
