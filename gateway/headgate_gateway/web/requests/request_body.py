"""Receive the body of a request, within time and size limits."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

from headgate_gateway.errors import BodyTooLarge, CodingNotSupported, RequestTimeout
from headgate_gateway.stepped import in_task
from headgate_gateway.web.requests.request_head import BODY_BUFFER_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.streams import StreamReader
    from multidict import MultiMapping

    from headgate_gateway.routes.services import Services, Timeouts
    from headgate_gateway.runtime.limits import BodyCount, ServerLimits
    from headgate_gateway.web.requests.request import Request

# After this time a body has to keep up its rate. Otherwise thousands of trickling bodies could be
# held for the far longer gap that an honest client may need.
GRACE_S = 10.0
_SAME = {"x-gzip": "gzip"}  # RFC 9110 section 8.4.1.3
# Bytes of a body that are received, and wait to be taken. At twice the buffer reading is paused,
# with one read more, and another part is being taken.
MOST_BUFFERED = 4 * BODY_BUFFER_BYTES
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def parts(
    request: Request,
    timeouts: Timeouts,
    limits: ServerLimits,
    still_admitted: Callable[[], Awaitable[None]] | None = None,
    *,
    is_invited: bool = False,
    are_joined: bool = True,
) -> AsyncIterator[bytes]:
    """Yield the parts of the body, each within `timeouts.body`, all at `timeouts.body_rate`.

    What has been received since the last part is one part, unless parts are not joined: that
    saves a copy of them, and takes more turns.

    A client that expects 100 Continue gets it, unless it `is_invited` already. Only time spent
    waiting for the client counts, not that of the consumer. `still_admitted` raises if the
    request's credential has expired meanwhile: then the last part, or the end of a body without a
    length, is never yielded, so that an incomplete body cannot be taken for a whole one.
    """
    if (whole := at_hand(request)) is not None:
        # The body may have become whole after the request was admitted, while the handler waited.
        if still_admitted is not None:
            await still_admitted()
        yield whole
        return
    await in_task()
    now = asyncio.get_running_loop().time
    waited_s, size = 0.0, 0
    waits = not is_invited and request.headers.get("Expect", "").lower() == "100-continue"
    if waits and request.transport:
        request.transport.write(CONTINUE)
    read = request.body.readany if are_joined else partial(_next_chunk, request.body)
    while True:
        began = now()
        allowed_s = _allowed_s(timeouts, size, waited_s)
        part = await _next_part(request, read, limits, allowed_s, timeouts)
        if still_admitted is not None and (part or request.content_length is None):
            await still_admitted()
        if not part:
            return
        waited_s += now() - began
        size += len(part)
        yield part


async def _next_part(
    request: Request,
    read: Callable[[], Awaitable[bytes]],
    limits: ServerLimits,
    allowed_s: float,
    timeouts: Timeouts,
) -> bytes:
    """Return the next part, or b"" at the end. Raises RequestTimeout after `allowed_s`."""
    try:
        async with asyncio.timeout(allowed_s):
            return await read()
    except TimeoutError as error:
        limit = "body_timeout" if allowed_s == timeouts.body else "min_body_rate"
        limits.refused[limit] += 1
        raise RequestTimeout("the rest of the body did not come in time") from error
    except RuntimeError as error:
        if request.transport is not None:
            raise
        # aiohttp raises RuntimeError for a read on a lost connection.
        raise ConnectionResetError("the client is gone") from error


async def _next_chunk(body: StreamReader) -> bytes:
    """Return the next bytes as they were received, or b"" at the end."""
    while True:
        chunk, _ = await body.readchunk()
        if chunk or body.at_eof():
            return chunk


def _allowed_s(timeouts: Timeouts, size: int, waited_s: float) -> float:
    """Return the seconds that the next part may take, after `size` bytes in `waited_s`."""
    if not timeouts.body_rate:
        return timeouts.body
    grace_s = min(timeouts.body, GRACE_S)
    return min(timeouts.body, grace_s + size / timeouts.body_rate - waited_s)


def at_hand(request: Request) -> bytes | None:
    """Return a body that has been received whole; None if more of it may come."""
    body = request.body
    if request.whole is not None or not body.is_eof() or body.exception() is not None:
        return request.whole
    request.whole = body.read_nowait()
    return request.whole


def ready(request: Request, limits: ServerLimits, *, may_be_coded: bool = False) -> bytes | None:
    """Return a body that has been received whole, or None. Raises for one beyond the limits."""
    if request.fields.is_coded and not may_be_coded and codings_of(request.fields.headers):
        raise CodingNotSupported("send the body without Content-Encoding")
    body = request.whole
    if body is None:
        body = at_hand(request)
    size = (request.content_length or 0) if body is None else len(body)
    if size > limits.max_append:
        limits.refused["max_append"] += 1
        raise BodyTooLarge(limits.max_append)
    if body is not None and limits.receiving_bytes:
        limits.receive(size)  # raises if it is too much with those still coming
        limits.receiving_bytes -= size
    return body


async def whole(
    request: Request,
    services: Services,
    still_admitted: Callable[[], Awaitable[None]] | None = None,
    *,
    is_invited: bool = False,
    may_be_coded: bool = False,
    counted: BodyCount | None = None,
) -> bytes:
    """Return the whole body, of `max_append` bytes at most, within the memory for all bodies.

    It counts until it has come, or in `counted`, until that is released.
    """
    limits = services.limits
    if (body := ready(request, limits, may_be_coded=may_be_coded)) is not None:
        if counted is not None:
            counted.add(len(body))
        return body
    received = BytesIO()  # its bytes are taken without a copy, which would block the loop
    # A coded body waits whole for its turn: with it counts what is received, and not yet taken.
    length, size = (request.content_length or 0) if may_be_coded else 0, 0
    with limits.receiving() if counted is None else nullcontext(counted.add_part) as count:
        async for part in parts(
            request,
            services.timeouts,
            limits,
            still_admitted,
            is_invited=is_invited,
            are_joined=not may_be_coded,
        ):
            received.write(part)
            ahead = max(received.tell(), min(length, received.tell() + MOST_BUFFERED))
            count(ahead - size)
            size = ahead
    return received.getvalue()


def codings_of(headers: MultiMapping[str]) -> list[str]:
    """Return the codings of a body, of which "identity" is none."""
    lines = headers.getall("Content-Encoding", ())
    names = (name.strip().lower() for line in lines for name in line.split(","))
    return [_SAME.get(name, name) for name in names if name not in {"", "identity"}]
