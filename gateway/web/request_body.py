"""The body of a request, as its parts come."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING

from aiohttp.streams import EMPTY_PAYLOAD

from gateway.errors import BodyTooLarge, CodingNotSupported, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.streams import StreamReader
    from aiohttp.web_request import BaseRequest

    from gateway.runtime.context import Context, Timeouts
    from gateway.runtime.limits import Limits

# After so long a body has to keep up its rate, or else thousands that trickle in would be held for
# the far longer time that an honest client may need for a gap.
GRACE_S = 10.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def parts(
    request: BaseRequest,
    timeouts: Timeouts,
    limits: Limits,
    still_admitted: Callable[[], Awaitable[None]] | None = None,
    *,
    is_invited: bool = False,
) -> AsyncIterator[bytes]:
    """Yield the parts, each of which must come in time, and all of them at the least rate.

    A client that waits for 100 before it sends the body gets it, unless it `is_invited` already.
    Only the time that is spent waiting for the client counts, not that of the consumer.
    `still_admitted` raises if the request's credential has ended meanwhile: the last part, or the
    end of a body without a length, is never yielded then, so nobody takes it for whole.
    """
    now = asyncio.get_running_loop().time
    waited_s, size = 0.0, 0
    waits = not is_invited and request.headers.get("Expect", "").lower() == "100-continue"
    if waits and request.transport:
        request.transport.write(CONTINUE)
    while True:
        began = now()
        allowed_s = _allowed_s(timeouts, size, waited_s)
        try:
            async with asyncio.timeout(allowed_s):
                part = await request.content.readany()
        except TimeoutError as error:
            limit = "body_timeout" if allowed_s == timeouts.body else "min_body_rate"
            limits.refused[limit] += 1
            raise RequestTimeout("the rest of the body did not come in time") from error
        except RuntimeError as error:
            if request.transport is not None:
                raise
            # What aiohttp says to who waits on a lost connection.
            raise ConnectionResetError("the client is gone") from error
        if still_admitted is not None and (part or request.content_length is None):
            await still_admitted()
        if not part:
            return
        waited_s += now() - began
        size += len(part)
        yield part


def _allowed_s(timeouts: Timeouts, size: int, waited_s: float) -> float:
    """How long the next part may take, after so many bytes that were waited for so long."""
    if not timeouts.body_rate:
        return timeouts.body
    grace_s = min(timeouts.body, GRACE_S)
    return min(timeouts.body, grace_s + size / timeouts.body_rate - waited_s)


def at_hand(payload: StreamReader) -> bytes:
    """A body that has come. StreamReader's own methods would have the connection parse on."""
    return b"" if payload is EMPTY_PAYLOAD else b"".join(payload._buffer)


async def whole(
    request: BaseRequest,
    shared: Context,
    still_admitted: Callable[[], Awaitable[None]] | None = None,
    *,
    is_invited: bool = False,
) -> bytes:
    """All of it, within `max_append` bytes; what all requests have received is bounded too."""
    codings = request.headers.getall("Content-Encoding", ())
    if any(coding.lower() != "identity" for coding in codings):
        raise CodingNotSupported("send the body without Content-Encoding")
    limits = shared.limits
    if (request.content_length or 0) > limits.max_append:
        limits.refused["max_append"] += 1
        raise BodyTooLarge(limits.max_append)
    received = BytesIO()  # gives its bytes without a copy of them, which others would wait for
    try:
        async for part in parts(
            request, shared.timeouts, limits, still_admitted, is_invited=is_invited
        ):
            if received.tell() + len(part) > limits.max_append:
                limits.refused["max_append"] += 1
                raise BodyTooLarge(limits.max_append)
            limits.receive(len(part))
            received.write(part)
    finally:
        limits.receiving_bytes -= received.tell()
    return received.getvalue()
