"""The response of an origin: its head, checked, and its body in parts as they come."""

from __future__ import annotations

import asyncio
import re
from io import BytesIO
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientResponse, HttpVersion10, HttpVersion11, hdrs
from typing_extensions import override

from gateway.errors import OriginBroken, OriginTimeout
from gateway.protocol import http1
from gateway.stepped import in_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import ExitStack

    from aiohttp.connector import Connection
    from multidict import CIMultiDictProxy

    from gateway.origin.in_step import ConnectionHistory

# As much as any client of ours would take from us.
HEAD_BYTES = 64 << 10
CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
CUT_SHORT = "the origin's answer was cut short"


class OriginResponse(ClientResponse):
    """An aiohttp response that has the history of its connection."""

    connection_history: ConnectionHistory | None = None

    @override
    async def start(self, connection: Connection) -> ClientResponse:
        protocol = connection.protocol  # another request may use it as soon as the head is here
        await super().start(connection)
        self.connection_history = getattr(protocol, "history", None)
        return self


class OriginAnswer:
    """An answer whose head is there; the body is still to be read, or to be released.

    The answer owns what is `held` for it: a place among the requests, a connection. `is_repetition`
    is True if its request was sent again, because the first connection was cut.
    """

    def __init__(
        self,
        response: ClientResponse,
        server: str,
        read_timeout: float,
        held: ExitStack,
        *,
        is_repetition: bool = False,
    ) -> None:
        self.status = response.status
        self.is_repetition = is_repetition
        self.headers: CIMultiDictProxy[str] = response.headers
        self.server = server
        self.url = str(response.url)
        # What came on its connection since that was last known to be in step.
        self.history: ConnectionHistory | None = getattr(response, "connection_history", None)
        self.complete_by_length = (
            response.method == hdrs.METH_HEAD
            or not http1.has_body(response.status)
            or hdrs.CONTENT_LENGTH in response.headers
            or hdrs.TRANSFER_ENCODING in response.headers
        )
        self._response = response
        self._read_timeout = read_timeout
        self._lost: BaseException | None = None
        if not response.content.is_eof():
            self._watch_connection(held)
        self._held = held.pop_all()

    @override
    def __repr__(self) -> str:
        return f"OriginAnswer({self.status}, {self.server!r})"

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises OriginBroken and OriginTimeout."""
        try:
            while part := await self._part():
                yield part
            if self._lost is not None and not self.complete_by_length:
                raise OriginBroken("the origin's answer was cut short") from self._lost
        finally:
            self.release()

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises as `parts` does, and OriginBroken beyond the limit."""
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
        """Give the connection back, or close it when something is unread; safe to call twice."""
        self._held.close()

    async def _part(self) -> bytes:
        """Return the bytes that have come, or come next; empty at the end."""
        content = self._response.content
        try:
            # Most answers are there with their head, and need no timer.
            part = content.read_nowait(-1)
            if not part and not content.at_eof():
                await in_task()
                async with asyncio.timeout(self._read_timeout):
                    part = await content.readany()
        except TimeoutError as cause:
            raise OriginTimeout(
                f"the origin sent no more of its answer for {self._read_timeout:g} s"
            ) from cause
        except (ClientError, OSError) as cause:
            raise OriginBroken(CUT_SHORT) from cause
        except RuntimeError as cause:  # what aiohttp says to who waits on a lost connection
            if self._is_connected:
                raise
            raise OriginBroken(CUT_SHORT) from cause
        return part

    @property
    def _is_connected(self) -> bool:
        connection = self._response.connection
        protocol = None if connection is None else connection.protocol
        return protocol is not None and protocol.is_connected()

    def _watch_connection(self, held: ExitStack) -> None:
        """Have the body broken off with its connection.

        aiohttp closes a connection on which a chunk is malformed, and never tells the body's
        reader.
        """
        connection = self._response.connection
        protocol = None if connection is None else connection.protocol
        closed = None if protocol is None else protocol.closed
        if closed is None:
            self._cut_off()
            return
        # The future may fail when nobody looks at it any more, which asyncio would complain of.
        closed.remove_done_callback(_look)
        closed.add_done_callback(_look)
        closed.add_done_callback(self._when_closed)
        held.callback(closed.remove_done_callback, self._when_closed)

    def _when_closed(self, closed: asyncio.Future[None]) -> None:
        self._lost = closed.exception()
        self._cut_off()

    def _cut_off(self) -> None:
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(ClientError("the connection was closed"))


def _look(closed: asyncio.Future[None]) -> None:
    closed.exception()


def fault(response: ClientResponse) -> str | None:
    """Return why the head forbids to pass a response on, though aiohttp takes it; else None."""
    if response.version not in {HttpVersion10, HttpVersion11}:
        return "it is of another version of HTTP"
    if not 200 <= response.status < 600:
        return f"its status is {response.status}"
    size = len("HTTP/1.1 200 \r\n") + len(response.reason or "")
    for name, value in response.raw_headers:
        size += len(name) + len(value) + 4
        if CONTROLS.search(value):
            return f"there are control characters in its header {name.decode(errors='replace')}"
    if size > HEAD_BYTES:
        return f"its head is over {HEAD_BYTES} bytes"
    return _framing_fault(response)


def _framing_fault(response: ClientResponse) -> str | None:
    codings = response.headers.getall(hdrs.TRANSFER_ENCODING, [])
    if not codings:
        return None
    if response.version == HttpVersion10:
        return "it has a Transfer-Encoding, which HTTP/1.0 does not know"
    if [coding.lower() for coding in codings] != ["chunked"]:
        return "it has a Transfer-Encoding that was not asked for"
    return None
