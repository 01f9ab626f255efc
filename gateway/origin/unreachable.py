"""Reasons why there is no connection to an origin or to another server, or no response of it."""

from __future__ import annotations

import os
import socket
import ssl

import aiohttp

WRONG_NAME = frozenset({62, 64})  # OpenSSL's numbers for another host name, another address


def why_unreachable(error: BaseException, timeout_s: float) -> str:
    """Return why a server cannot be connected to, in words that follow its name.

    Clients get to read them: no address is in them.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, TimeoutError):
        return f"took no connection within {timeout_s:g} s"
    if isinstance(error, socket.gaierror):
        return f"has a host name that cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLError):
        return _why_no_tls(error)
    if isinstance(error, OSError) and error.errno:
        return f"cannot be connected to: {os.strerror(error.errno)}"
    return "cannot be connected to"


def why_no_response(error: BaseException, timeout_s: float) -> str:
    """Return why a request of `timeout_s` at most got no response, in words that follow its server.

    No address is in them, and none of the server's own words.
    """
    if isinstance(error, aiohttp.ClientConnectorError):
        return why_unreachable(error, timeout_s)
    if isinstance(error, TimeoutError):
        return f"did not answer within {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "sent a response that is not complete"
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "sent no valid response of HTTP/1.1"
    return "closed the connection without a response"


def _why_no_tls(error: ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"does not speak TLS as we do: {error.reason}"
    if error.verify_code in WRONG_NAME:
        return "has a certificate for another host name"
    return f"has a certificate that is not trusted: {error.verify_message}"
