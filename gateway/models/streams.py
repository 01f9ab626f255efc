"""The streams of answers in a log of our own, by the operations that an answer needs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.cache.rendered import RenderedChunk
from gateway.errors import HeadgateError, StreamNotFound
from gateway.later import Later
from gateway.protocol.requests import Append, CreateRequest, parse_target
from gateway.protocol.streams.state import Lifetime
from gateway.runtime.answer import RouteAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.hosted.route import HostedRoute
    from gateway.protocol.appends import AppendOutcome
    from gateway.protocol.streams.state import StreamState


class StreamEnd(NamedTuple):
    """The end of a stream as it is now: the position of its tail, and whether it is closed."""

    tail: int
    is_closed: bool
    offset_of: Callable[[int], str]


class AnswerStreams:
    """The streams below `folder` of one route to a log, all with one time to live."""

    def __init__(self, route: HostedRoute, folder: str, ttl_s: int) -> None:
        self.route = route
        self.folder = folder
        self._ttl = Lifetime(ttl_s=ttl_s)

    def path(self, name: str) -> str:
        """Return the path of the stream with this name, for clients."""
        return f"{self.route.prefix}/{self._full(name)}"

    def _full(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name

    async def create(self, name: str, content_type: str, body: bytes = b"") -> bool:
        """Create a stream; return False if there is one already. Raises HeadgateError."""
        request = CreateRequest(body, content_type, self._ttl, False, None)
        created = await self.route.lifecycle.create(self._full(name), request, None)
        return created.new

    async def delete(self, name: str) -> None:
        """Delete a stream, if there is one. Raises HeadgateError."""
        try:
            await self.route.lifecycle.delete(self._full(name))
        except StreamNotFound:
            return

    def append(
        self, name: str, content_type: str, messages: Sequence[bytes], *, close: bool = False
    ) -> Later[AppendOutcome]:
        """Append messages to a stream; with `close`, close it in the same commit.

        A read may begin at each message. The result is the outcome once the commit is durable; it
        raises HeadgateError.
        """
        body = b"".join(messages)
        append = Append(
            body,
            content_type if body else None,
            None,
            None,
            close,
            records=(messages, len(messages)) if body else None,
        )
        outcome: Later[AppendOutcome] = Later()
        self.route.appender.submit(self._full(name), append, partial(_set, outcome))
        return outcome

    async def end(self, name: str) -> StreamEnd | None:
        """Return the end of a stream; None if there is none. Raises HeadgateError."""
        try:
            state = await self._state(name)
        except StreamNotFound:
            return None
        return StreamEnd(state.tail, state.closed, state.offset)

    async def _state(self, name: str) -> StreamState:
        table = self.route.table
        return table.present(await table.load(self._full(name)))

    async def read(self, name: str, offset: str) -> bytes:
        """Return the data after an offset, up to the length of one read. Raises HeadgateError."""
        read = parse_target(f"{self.path(name)}?offset={offset}")
        if isinstance(read, HeadgateError):
            raise type(read)(read.detail)
        answered = await self.route.reads.read(read, self._full(name), None)
        assert isinstance(answered, RouteAnswer), "a catch-up read does not wait"
        assert isinstance(answered.answer, RenderedChunk), "it has data, and no condition"
        return answered.answer.body


def _set(outcome: Later[AppendOutcome], result: AppendOutcome | HeadgateError) -> None:
    if isinstance(result, HeadgateError):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)
