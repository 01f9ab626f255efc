"""Streams as the commands ask for them, and what goes wrong in the words of the commands."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import aiohttp

from headgate.errors import StreamError, Unavailable
from headgate.stream_requests import StreamRequests
from headgate_gateway.errors import StartError
from headgate_gateway.protocol.http.header_names import FORKED_FROM, NEXT_OFFSET
from headgate_gateway.tools.shell.exit_status import (
    CONFLICT,
    FAILED,
    NOT_FOUND,
    REFUSED,
    UNAVAILABLE,
    UNTRUSTED,
)
from headgate_gateway.tools.shell.failure import Failed, is_untrusted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.tools.server.target import StreamTarget

# Header fields in the error messages of servers, and the options that set them.
OPTIONS = {
    "Content-Type": "--content-type",
    "Producer-Epoch": "--epoch",
    "Producer-Id": "--producer",
    "Stream-Expires-At": "--expires-at",
    "Stream-Fork-Offset": "--fork-offset",
    "Stream-Fork-Sub-Offset": "--fork-sub-offset",
    FORKED_FROM: "--fork-from",
    NEXT_OFFSET: "next offset",
    "Stream-Seq": "--seq",
    "Stream-TTL": "--ttl",
}
_BY_STATUS = {404: NOT_FOUND, 410: NOT_FOUND, 409: CONFLICT}
FIELD = re.compile(rf"\b({'|'.join(OPTIONS)})\b(?!-)")


@contextlib.asynccontextmanager
async def connect(
    target: StreamTarget, *, past_caches: bool = False
) -> AsyncIterator[StreamRequests]:
    """Yield the stream, with an HTTP session that ends with the block.

    With `past_caches` every response is of the server itself, so that it has what was appended
    before. Raises Failed for a bad `ca_file`.
    """
    try:
        connector = aiohttp.TCPConnector(ssl=target.trusted() or True)
    except StartError as refusal:
        raise Failed(refusal.detail) from refusal
    headers = {"User-Agent": "headgate"}
    if past_caches:
        headers["Cache-Control"] = "no-cache"
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield StreamRequests(target.url, authorization=target.authorization, session=session)


def in_words(failure: Exception, target: StreamTarget | None) -> str:
    """Return what went wrong, with options in place of header fields, and what to do."""
    refusal = _refusal_behind(failure)
    if refusal is None or target is None:
        return str(failure)
    if is_untrusted(refusal):
        return f"{failure}; {target.certificate_advice}"
    if refusal.status is None:  # it has no words of the server
        return str(failure)
    sentence = FIELD.sub(lambda match: OPTIONS[match[0]], str(failure))
    return f"{sentence}; {target.advice}" if refusal.status == 401 else sentence


def status_of(failure: Exception) -> int:
    """Return the exit status by which a script tells what went wrong."""
    refusal = _refusal_behind(failure)
    if refusal is None:
        return FAILED
    if is_untrusted(refusal):
        return UNTRUSTED
    if isinstance(refusal, Unavailable):
        return UNAVAILABLE
    return FAILED if refusal.status is None else _BY_STATUS.get(refusal.status, REFUSED)


def _refusal_behind(failure: Exception) -> StreamError | None:
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, StreamError):
        cause = cause.__cause__
    return cause
