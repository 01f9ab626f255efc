"""Bodies of requests: decoded step by step, or passed on to the provider while they come."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import zlib
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

from headgate_gateway.errors import BadRequest, CodingNotSupported, OriginBroken
from headgate_gateway.stepped import in_task
from headgate_gateway.web.requests import request_body
from headgate_gateway.web.requests.request import exchange_of, waiting_for_turn
from headgate_gateway.web.requests.request_body import codings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Hashable, Iterator
    from contextlib import AbstractContextManager

    from multidict import MultiMapping

    from headgate_gateway.routes.services import Services
    from headgate_gateway.runtime.limits import BodyCount
    from headgate_gateway.web.requests.request import Request

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError


# What a step takes, and about what it gives: a millisecond.
SLICE_BYTES = 4 << 10
STEP_BYTES = 64 << 10
# RFC 9659 lets no body have a larger window; zstd's own bound is 128 MiB, which it sets aside for
# each frame.
WINDOW_LOG = 23


class _Decoder(Protocol):
    """A decoder of one member, which has what it has not taken yet once it is at its end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most so many bytes."""

    @property
    def eof(self) -> bool:
        """True once the end has come, with a checksum that fits if there is one."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end."""


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": partial(zlib.decompressobj, zlib.MAX_WBITS | 16),
    "zstd": partial(ZstdDecompressor, options={DecompressionParameter.window_log_max: WINDOW_LOG}),
}
_WINDOW = f", or has a window of over {1 << WINDOW_LOG - 20} MiB (RFC 9659)"
_TAKEN = ", ".join(_DECODERS)
_BROKEN = (zlib.error, ZstdError)


def coding_of(headers: MultiMapping[str]) -> str | None:
    """Return the coding of a body; None if it has none. Raises CodingNotSupported."""
    codings = codings_of(headers)
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _DECODERS:
        sentence = f"send the body without Content-Encoding, or with one of {_TAKEN}"
        raise CodingNotSupported(sentence, _TAKEN)
    return codings[0]


def decoded(body: bytes, coding: str, count: Callable[[int], None]) -> Generator[int, None, bytes]:
    """Return a body without its coding, in steps that yield their number of decoded bytes.

    `count` gets that number before the bytes are kept, and raises for too many. Raises BadRequest
    for other bytes than the coding's, and for a body that is cut.
    """
    decoder, text = _DECODERS[coding](), BytesIO()
    try:
        for begin in range(0, len(body), SLICE_BYTES):
            part, out = body[begin : begin + SLICE_BYTES], b""
            while part or (out and not decoder.eof):
                if part and decoder.eof:
                    # The next member (RFC 1952 section 2.2, RFC 8878 section 3).
                    decoder = _DECODERS[coding]()
                out = decoder.decompress(part, STEP_BYTES)
                part = decoder.unused_data if decoder.eof else _not_taken(decoder)
                count(len(out))
                text.write(out)
                yield len(out)
    except _BROKEN as error:
        raise _refusal(coding) from error
    if body and not decoder.eof:
        raise _refusal(coding)
    return text.getvalue()


def _refusal(coding: str) -> BadRequest:
    window = _WINDOW if coding == "zstd" else ""
    return BadRequest(
        f"the body is not {coding} up to its end, as its Content-Encoding says{window}"
    )


def _not_taken(decoder: _Decoder) -> bytes:
    """Return the bytes that zlib has left for the next step; the others keep them."""
    rest: bytes = getattr(decoder, "unconsumed_tail", b"")
    return rest


async def received(
    request: Request,
    services: Services,
    counted: BodyCount,
    place: Callable[[], AbstractContextManager[Hashable]],
    *,
    outlives: bool,
) -> tuple[bytes, bytes]:
    """Return a body as it was sent, and without its content coding.

    It is decoded when it has a `place`, with the client that this counts for, and its turn. Both
    it waits for without its client only if its request may `outlive` that. Its bytes are `counted`.
    """
    whole, coding = request_body.whole, coding_of(request.headers)
    check = exchange_of(request).check_admission
    if coding is None:
        sent = await whole(request, services, check, counted=counted)
        return sent, sent
    with waiting_for_turn(request):
        sent = await whole(request, services, check, may_be_coded=True, counted=counted)
        await in_task()
        if not outlives:
            request.limit_grace(0.0)
        with place() as client, services.limits.receiving() as count:
            uncoded = await services.decodings.run(decoded(sent, coding, count), client)
    request.grace_s = None
    return sent, uncoded


async def passed_parts(request: Request, services: Services) -> AsyncIterator[bytes]:
    """Yield the parts of a body that is only passed on, up to LONGEST_PASSED bytes in all."""
    size = 0
    async for part in request_body.parts(request, services.timeouts, services.limits):
        size += len(part)
        services.limits.check_passed(size)
        yield part


class Upload:
    """A body that is sent on while it comes, once: what was sent is not kept for another server."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._begun = False
        self._clock: asyncio.Timeout | None = None
        self.error: Exception | None = None  # why it ended too early
        self._on_error: Callable[[], None] | None = None  # once there is a response

    def call_on_error(self, on_error: Callable[[], None]) -> None:
        """Call `on_error` if the body ends too early from now on."""
        self._on_error = on_error

    @contextlib.contextmanager
    def timed_by(self, clock: asyncio.Timeout) -> Iterator[None]:
        """Enter with the timeout of a server, which stands still while the client is waited for."""
        self._clock = clock
        try:
            yield
        finally:
            self._clock = None

    async def parts(self, wait_s: float) -> AsyncIterator[bytes]:
        """Yield the parts, each of which the server may take `wait_s` for, as for its response."""
        time = asyncio.get_running_loop().time
        try:
            self._expire_at(None)
            async for part in self._once():
                self._expire_at(time() + wait_s)
                yield part
                self._expire_at(None)
            self._expire_at(time() + wait_s)
        except Exception as error:
            self.error = error  # aiohttp would tell it as a fault of the connection
            if self._on_error is not None:
                self._on_error()
            raise

    def _once(self) -> AsyncIterator[bytes]:
        if self._begun:
            raise OriginBroken("the provider broke off before it had the whole body")
        self._begun = True
        return self._parts

    def _expire_at(self, moment: float | None) -> None:
        # The server may have responded before it had all.
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(moment)
