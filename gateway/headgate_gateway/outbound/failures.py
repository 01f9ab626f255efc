"""The failures of outbound requests: a kind for code and metrics, and words for people."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp

from headgate_gateway.open_files import NoFileLeft
from headgate_gateway.origin.requests import why_unreachable
from headgate_gateway.outbound.connections import AddressRefused, ResponseTooLong
from headgate_gateway.outbound.ways import CONNECT_S

if TYPE_CHECKING:
    from headgate_gateway.outbound.ways import Way
    from headgate_gateway.protocol.http.outgoing_proxies import Proxy
    from headgate_gateway.telemetry.outbound import FailureKind

REFUSED_BY_PROXY = 407  # the status by which a proxy asks for a user and password


class InvalidStatus(ValueError):
    """The error for a response whose status has no meaning."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered with the status {status:03}, which has no meaning")


class ProxyRefusal(ValueError):
    """The error for a request without a tunnel whose user and password the proxy does not take."""


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

    `why` follows the name of the server, as in "did not answer within 5 s"; it has no address and
    URL of a server, and none of the server's own words. That of the kind `refused` is a sentence
    about the address. If it `is_of_proxy`, the request has not come further than to a proxy.
    """

    def __init__(self, kind: FailureKind, why: str, *, is_of_proxy: bool = False) -> None:
        super().__init__(why)
        self.kind: FailureKind = kind
        self.why = why
        self.is_of_proxy = is_of_proxy


def failure_of(error: Exception, timeout_s: float, way: Way | None = None) -> NoResponse:
    """Return the failure of a request of `timeout_s` at most that an error has ended."""
    if isinstance(cause := getattr(error, "os_error", None), AddressRefused):
        return NoResponse("refused", str(cause))
    if way is None or isinstance(error, NoFileLeft):
        return NoResponse(*_kind_and_why(error, timeout_s))
    if way.is_at_proxy or isinstance(error, ProxyRefusal):
        return _failure_of_proxy(error, timeout_s, way.proxy)
    kind, why = _kind_and_why(error, timeout_s)
    return NoResponse(kind, f"{why} (through {way.proxy.name_for_clients})")


def _failure_of_proxy(error: Exception, timeout_s: float, proxy: Proxy) -> NoResponse:
    """Return the failure of a request that has come no further than to its proxy."""
    kind: FailureKind = "proxy"
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status != REFUSED_BY_PROXY:
        why = f"answered {error.status} instead of connecting to it"
    elif isinstance(error, aiohttp.ClientHttpProxyError | ProxyRefusal):
        why = f"wants a user and a password, as USER:PASSWORD@ before the host in {proxy.source}"
        if proxy.authorization:
            why = f"does not take the user and the password in {proxy.source}"
        why += f" (status {REFUSED_BY_PROXY})"
    elif isinstance(error, TimeoutError):
        kind, why = "timeout", f"made no connection within {min(CONNECT_S, timeout_s):g} s"
    else:
        _, why = _kind_and_why(error, timeout_s)
    return NoResponse(kind, f"was not reached: {proxy.name_for_clients} {why}", is_of_proxy=True)


def _kind_and_why(error: Exception, timeout_s: float) -> tuple[FailureKind, str]:
    """Return the kind and the words of a failure, whatever server it is of."""
    if isinstance(error, aiohttp.ClientConnectorError | ssl.SSLError):
        return _kind_unreachable(error), why_unreachable(error, timeout_s)
    if isinstance(error, InvalidStatus):
        return "invalid", str(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "unreachable", f"took no connection within {min(CONNECT_S, timeout_s):g} s"
    if isinstance(error, TimeoutError):
        return "timeout", f"did not answer within {timeout_s:g} s"
    return next((kind, why) for of, kind, why in _OF_CONNECTIONS if isinstance(error, of))


def _kind_unreachable(error: aiohttp.ClientConnectorError | ssl.SSLError) -> FailureKind:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    return "name" if isinstance(error.os_error, socket.gaierror) else "unreachable"
