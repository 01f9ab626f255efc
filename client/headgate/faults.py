"""Errors of one sentence for requests that fail or are refused."""

from __future__ import annotations

import contextlib
import json
import os
import re

import aiohttp

from headgate.errors import ProtocolError, StreamError, Unavailable, refusal

# Of an error's body only one sentence is wanted.
ERROR_BODY_BYTES = 1 << 16
SENTENCE_CHARACTERS = 300
WORDS = {
    401: "the server wants an Authorization",
    403: "the server forbids it",
    404: "there is no such stream",
    410: "the stream is gone",
    405: "this is not the URL of a stream",
    501: "this is not a Durable Streams server; check the URL",
    **dict.fromkeys(
        (301, 302, 303, 307, 308), "a redirect, which is not followed: use the URL that it leads to"
    ),
}
NO_SERVER = "Start the server, or correct the URL of the client."
AWAY = "Try again later: an append may be stored or not."
NO_RESPONSE = "the connection was closed without a response"
NO_HTTP = "no HTTP is spoken there"
# Where the first request of a session gets no response: Redis closes the connection so, and
# asyncio where TLS is spoken.
CLOSED_AT_ONCE = {
    "http": f"{NO_HTTP}, it seems, or only with https://: {NO_RESPONSE}",
    "https": f"{NO_HTTP}, it seems: {NO_RESPONSE}",
}
TLS_THERE = "TLS is spoken there: write https:// in the URL"
TLS_ALERT = r"\x15\x03"  # the first two bytes of one (RFC 8446 section 5.1), as aiohttp shows them
# As nginx, Go and Apache answer a request without TLS, with 400.
WANTS_TLS = re.compile(rb"HTTP request[\w ]{1,20} HTTPS |SSL-enabled server port")
A_PAGE = "the response is a page of HTML: check the URL of the server"
# Raised before the first byte of a request is sent.
NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
CAUSES: dict[type[Exception], str] = {
    TimeoutError: "no answer in time",
    aiohttp.ClientConnectorDNSError: "the host name is unknown",
    aiohttp.ServerDisconnectedError: "the connection was lost",
    aiohttp.ClientPayloadError: "the connection was lost",
    aiohttp.ClientResponseError: "what it answered is not valid HTTP",
}


async def response_error(
    answer: aiohttp.ClientResponse, stream: str, offset: str | None
) -> StreamError:
    """Return the error of a response, with its sentence and the code of those of subscriptions."""
    body = bytearray()
    while part := await answer.content.read(ERROR_BODY_BYTES - len(body)):
        body += part
    detail, code = _detail(answer.content_type, body.decode(errors="replace"))
    if answer.content_type == "text/html" and answer.status in {404, 405}:
        detail = A_PAGE
    elif answer.status == 400 and WANTS_TLS.search(body):
        detail = TLS_THERE
    # The answer to HEAD has no body that could tell.
    detail = detail.rstrip(".") or WORDS.get(answer.status, "the server refused")
    reason = f"{detail} ({answer.status} {answer.reason})"
    return refusal(
        reason,
        answer.status,
        answer.headers,
        stream=stream,
        method=answer.method,
        offset=offset,
        code=code,
    )


def _detail(content_type: str, text: str) -> tuple[str, str]:
    """Return the detail in the body of an error, harmless to a terminal, and its code."""
    code = ""
    if content_type.endswith("json"):
        with contextlib.suppress(ValueError, RecursionError):
            problem = json.loads(text)
            if isinstance(problem, dict):
                code, error = str(problem.get("code") or ""), problem.get("error")
                if isinstance(error, dict) and "code" in error:
                    code, problem = str(error["code"]), {"detail": error.get("message")}
                text = str(problem.get("detail") or problem.get("title") or "")
    elif not content_type.startswith("text/plain"):
        text = ""
    line = text.strip().partition("\n")[0][:SENTENCE_CHARACTERS]
    harmless = "".join(character if character.isprintable() else " " for character in line)
    return harmless.strip(), code


def connection_error(cause: Exception, stream: str, *, scheme: str, is_first: bool) -> Unavailable:
    """Return the error of a request without a response, perhaps the first of its session."""
    words = _words(cause)
    if isinstance(cause, aiohttp.ServerDisconnectedError) and is_first:
        words = CLOSED_AT_ONCE[scheme]
    unavailable = Unavailable(words, stream=stream)
    unavailable.is_unsent = isinstance(cause, NO_CONNECTION)
    if words.startswith((NO_HTTP, TLS_THERE)):
        unavailable.add_note(ProtocolError._advice)
    if words not in {NO_HTTP, TLS_THERE}:
        unavailable.add_note(NO_SERVER if unavailable.is_unsent else AWAY)
    return unavailable


def _words(cause: Exception) -> str:
    if isinstance(cause, aiohttp.ClientSSLError):
        return _tls_words(cause)
    if isinstance(cause, aiohttp.ClientResponseError) and "status line" in cause.message:
        return TLS_THERE if TLS_ALERT in cause.message else NO_HTTP
    for kind, words in CAUSES.items():
        if isinstance(cause, kind):
            return words
    if isinstance(cause, aiohttp.ClientConnectorError):
        number = cause.os_error.errno
        return f"cannot connect: {os.strerror(number) if number else cause.os_error}"
    return "the connection was lost" if isinstance(cause, OSError) else str(cause)


def _tls_words(cause: aiohttp.ClientSSLError) -> str:
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        reason = getattr(cause.certificate_error, "verify_message", "") or "it does not fit"
        return f"the certificate of the server is not trusted: {reason}"
    reason = getattr(cause.os_error, "reason", "") or "the handshake failed"
    return f"no TLS with this server ({reason}): perhaps its URL begins with http://"
