"""An answer of an origin, who receives it, and the attempt at a server that brings it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from typing_extensions import override

from headgate_gateway.errors import OriginBroken, OriginTimeout
from headgate_gateway.later import Later
from headgate_gateway.origin.reuse import ConnectionHistory
from headgate_gateway.protocol.http.repeated_fields import join_lines
from headgate_gateway.stepped import in_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import StreamReader

    from headgate_gateway.origin.heads import HeadPatterns

CUT_SHORT = "the origin's answer was cut short"


class UnreadBody:
    """The body of an answer that is passed on while it comes."""

    def __init__(
        self,
        content: StreamReader,
        close: Callable[[], None],
        on_release: Callable[[], None],
        timeout_s: float,
    ) -> None:
        """`close` ends the connection, unless the body has come whole.

        `on_release` is called once; `timeout_s` is the most between two parts.
        """
        self._content = content
        self._close = close
        self._on_release = on_release
        self._timeout_s = timeout_s
        self._is_released = False

    async def part(self) -> bytes:
        """Return the bytes that have come, or come next; empty at the end."""
        content = self._content
        # What has come needs no timer.
        part = content.read_nowait(-1)
        if not part and not content.at_eof():
            await in_task()
            try:
                async with asyncio.timeout(self._timeout_s):
                    part = await content.readany()
            except TimeoutError as cause:
                raise OriginTimeout(
                    f"the origin sent no more of its answer for {self._timeout_s:g} s"
                ) from cause
        return part

    def release(self) -> None:
        """End the connection if something has not come yet; safe to call twice."""
        if not self._is_released:
            self._is_released = True
            if not self._content.is_eof():
                self._close()
            self._on_release()


class OriginAnswer(Struct, eq=False):
    """An answer whose head is there.

    `body` is the whole body, and the connection is free for other requests; or it is None, and the
    body is still to be read, or to be released. If a whole body was chunked, `headers` and
    `volatile` have its Content-Length instead (RFC 9112, section 7.1.3).

    `stable` identifies all answers that differ only in VOLATILE fields, so that what follows from
    one head is computed once. It has the status line and the fields in order, but only the names of
    VOLATILE ones. It is None where that is not worth the memory. `volatile` has the values of those
    fields, by name in lower case.
    """

    status: int
    body: bytes | None
    head: bytes | Sequence[tuple[bytes, bytes]]  # as bytes up to the body, or its parsed fields
    stable: Hashable | None
    volatile: Mapping[str, str]
    history: ConnectionHistory  # of its connection
    is_chunked: bool = False
    complete_by_length: bool = True  # else by the end of its connection
    server: str = ""  # its incarnation
    is_repetition: bool = False  # its request was sent again, because a connection was cut
    unread: UnreadBody | None = None
    _headers: CIMultiDictProxy[str] | None = None

    @override
    def __repr__(self) -> str:
        size = "unread" if self.body is None else f"{len(self.body)} bytes"
        return f"OriginAnswer({self.status}, {size}, {self.server!r})"

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The fields, with names as the origin spells them; made at the first use.

        Those that caches go by have one line each.
        """
        if self._headers is None:
            fields: CIMultiDict[str] = CIMultiDict()
            for name, value in self._fields():
                fields.add(
                    name.decode("utf-8", "surrogateescape"),
                    value.decode("utf-8", "surrogateescape"),
                )
            if self.is_chunked and self.body is not None:
                del fields["Transfer-Encoding"]
                fields["Content-Length"] = str(len(self.body))
            join_lines(fields)
            self._headers = CIMultiDictProxy(fields)
        return self._headers

    def _fields(self) -> Sequence[tuple[bytes, bytes]]:
        head = self.head
        if not isinstance(head, bytes):
            return head
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:-2]]
        return [(name, value.strip(b" \t")) for name, _, value in lines]

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body, if there is any, as it comes. Raises OriginBroken and OriginTimeout."""
        if self.unread is None:
            if self.body:
                yield self.body
            return
        try:
            while part := await self.unread.part():
                yield part
        finally:
            self.release()

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises as `parts` does, and OriginBroken beyond the limit."""
        if self.body is not None and len(self.body) <= limit:
            return self.body
        body = BytesIO()  # gives out what was written to it without copying it once more
        try:
            async for part in self.parts():
                body.write(part)
                if body.tell() > limit:
                    raise OriginBroken(f"the origin's answer is over {limit} bytes")
        finally:
            self.release()
        return body.getvalue()

    def release(self) -> None:
        """Let go of an answer whose body is not needed any more; safe to call twice."""
        if self.unread is not None:
            self.unread.release()


class AnswerReceiver(Protocol):
    """The receiver of a request's result: one method is called, once, after `start` has returned.

    Neither is called for a request that was abandoned.
    """

    def on_answer(self, answer: OriginAnswer) -> None:
        """Use the response, and release it if its body is unread."""

    def on_failure(self, error: Exception) -> None:
        """Handle a HeadgateError of the origin, LimitReached, or what the request's body raised."""


class Loss(Enum):
    """The reason why a request got no answer on its connection."""

    CUT = "the origin closed the connection without an answer"
    GARBLED = "what the origin answered is no HTTP, or its head is too long"
    REFUSED = "the origin's answer cannot be passed on"
    UNKNOWN = "something failed here: it is not known what the origin has answered"


class Attempt(Protocol):
    """A request on a connection, which calls `on_answer` or `on_lost`.

    It is also lost, with UNKNOWN, if one of these methods raises.
    """

    is_head: bool  # its method is HEAD
    patterns: HeadPatterns

    def on_answer(self, answer: OriginAnswer) -> None:
        """Take the answer; if its body is not unread, the connection is free already."""

    def on_lost(self, loss: Loss, error: OriginBroken) -> None:
        """Go on without an answer; the connection is closed."""

    def on_released(self) -> None:
        """Take note that the body of the answer was read or released, if it was unread."""


class PendingAnswer(Later[OriginAnswer]):
    """The future answer to one request: an `AnswerReceiver` that a handler awaits.

    A handler that is cancelled meanwhile has to call `cancel`.
    """

    __slots__ = ("abandon",)
    abandon: Callable[[], None]  # the request

    def on_answer(self, answer: OriginAnswer) -> None:
        """Resume the handler with an answer."""
        self.set_result(answer)

    def on_failure(self, error: Exception) -> None:
        """Raise the error in the handler."""
        self.set_exception(error)

    def cancel(self) -> None:
        """Abandon the request, or release an answer that has come meanwhile."""
        if not self.done():
            self.abandon()
        elif self.exception() is None:
            self.result().release()
