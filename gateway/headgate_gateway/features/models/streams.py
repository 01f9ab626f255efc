"""The streams of completions in a log of our own, by the operations that a completion needs."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import (
    ConfigurationConflict,
    HeadgateError,
    ProducerFenced,
    StreamBusy,
    StreamClosed,
    StreamNotFound,
)
from headgate_gateway.later import Later
from headgate_gateway.protocol.bodies.content import JSON_TYPE
from headgate_gateway.protocol.http.header_names import NEXT_OFFSET
from headgate_gateway.protocol.requests import Append, CreateRequest, parse_target
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.streams.clock import MOST_SLACK_S
from headgate_gateway.streams.outcomes import submitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.lifecycle import CreationOutcome
    from headgate_gateway.protocol.streams.state import Stamp
    from headgate_gateway.streams.active_stream import Watcher
    from headgate_gateway.streams.route import HostedRoute


# A read restarts the countdown of a completion, which is stored within a minute; only then are
# those of the streams beside it restarted. So these are stored for longer, by twice as much.
SPARE_S = 2 * int(MOST_SLACK_S)


TAKEN, ENDED = "another gateway has begun the answer", "another gateway has ended the answer"


class ClaimLost(Exception):
    """Another gateway has begun the completion, or has ended it."""


class StreamEnd(NamedTuple):
    """The end of a stream as it is now: the position of its tail, and whether it is closed.

    `closed_by` is the id of the producer that has closed it, if one has.
    """

    tail: int
    is_closed: bool
    offset_of: Callable[[int], str]
    stream_id: int
    closed_by: str | None


class CompletionStreams:
    """The streams below `folder` of one route to a log, all with one time to live."""

    def __init__(self, route: HostedRoute, folder: str, ttl_s: int) -> None:
        self.route = route
        self.folder = folder
        self.is_shared = route.table.is_shared  # other processes write to the log, too
        self._ttl_s = ttl_s

    @property
    def heartbeat_s(self) -> float:
        """The silence after which a reader gets a comment."""
        return self.route.feeds.source.settings.heartbeat

    def path(self, name: str) -> str:
        """Return the path of the stream with this name, for clients."""
        return f"{self.route.prefix}/{self.full_name(name)}"

    def full_name(self, name: str) -> str:
        """Return the name of a stream below the prefix of its route."""
        return f"{self.folder}/{name}" if self.folder else name

    def name_at(self, path: str) -> str | None:
        """Return the name of the stream at a path below the prefix of its route.

        None for a path outside the folder; within it, somebody else may have made the stream.
        """
        if not self.folder:
            return path
        return path.removeprefix(f"{self.folder}/") if path.startswith(f"{self.folder}/") else None

    async def create(
        self, name: str, content_type: str, body: bytes = b"", *, is_beside: bool = False
    ) -> CreationOutcome:
        """Create a stream, or return the one of this type that is there. Raises HeadgateError.

        One beside a completion is stored for a little longer.
        """
        ttl_s = self._ttl_s
        if is_beside:
            ttl_s += SPARE_S
            ttl_s = min(ttl_s, self.route.lifecycle.lifetimes.max_s or ttl_s)
        request = CreateRequest(body, content_type, Lifetime(ttl_s=ttl_s), False, None)
        return await self.route.writes.create(self.full_name(name), request)

    async def replace(self, name: str, content_type: str, body: bytes) -> CreationOutcome:
        """Create a stream beside a completion, in place of one that may be there.

        Raises HeadgateError.
        """
        with contextlib.suppress(ConfigurationConflict):  # it has the TTL of other settings
            created = await self.create(name, content_type, body, is_beside=True)
            if created.new:
                return created
        await self.delete(name)
        return await self.create(name, content_type, body, is_beside=True)

    async def add(self, name: str, content_type: str, body: bytes) -> None:
        """Append to a stream beside a completion, which is created if it is not there.

        Raises HeadgateError.
        """
        try:
            await self.append(name, content_type, [body])
        except StreamNotFound:
            await self.create(name, content_type, body, is_beside=True)

    async def touch(self, name: str) -> None:
        """Restart the countdown of a stream, if there is one. Raises HeadgateError."""
        table = self.route.table
        with contextlib.suppress(StreamNotFound):
            active = await table.load(self.full_name(name))
            table.present(active)
            table.deadlines.touch(active)

    async def delete(self, name: str, stream_id: int | None = None) -> None:
        """Delete a stream, if there is one; with an id only that one. Raises HeadgateError."""
        only = None if stream_id is None else str(stream_id)
        try:
            await self.route.lifecycle.delete(self.full_name(name), only)
        except StreamNotFound:
            return

    def append(  # noqa: PLR0913 - what an append may depend on
        self,
        name: str,
        content_type: str,
        messages: Sequence[bytes],
        *,
        close: bool = False,
        stamp: Stamp | None = None,
        stream_id: int | None = None,
        tail: int | None = None,
    ) -> Later[AppendOutcome]:
        """Append messages to a stream; with `close`, close it in the same commit.

        A read may begin at each message. The result is the outcome once the commit is durable; it
        raises HeadgateError. With a `stream_id` only the stream with this id takes them; an append
        with the `stamp` of an earlier writer, or after another `tail`, raises ClaimLost.
        """
        body = messages[0] if len(messages) == 1 else b"".join(messages)
        is_whole = len(messages) < 2 and content_type != JSON_TYPE  # its body is its record
        append = Append(
            body,
            content_type if body else None,
            None,
            stamp,
            close,
            records=None if is_whole or not body else (messages, len(messages)),
            stream_id=stream_id,
            tail=tail,
        )
        outcome: Later[AppendOutcome] = Later()
        waiting = submitted(append, partial(_set, outcome, stamp))
        self.route.writes.submit(self.full_name(name), waiting)
        return outcome

    async def end(self, name: str) -> StreamEnd | None:
        """Return the end of a stream; None if there is none. Raises HeadgateError."""
        table = self.route.table
        try:
            state = table.present(await table.load(self.full_name(name)))
        except StreamNotFound:
            return None
        closed_by = None if state.closed_by is None else state.closed_by.producer_id
        return StreamEnd(state.tail, state.closed, state.offset, state.stream_id, closed_by)

    def has_live_readers(self, name: str) -> bool:
        """Return whether somebody follows a stream live here."""
        active = self.route.table.peek(self.full_name(name))
        return active is not None and any(feed.has_readers for feed in active.feeds)

    def watch(self, name: str, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with each change of a stream, also by others; return how to end that."""
        table = self.route.table
        return table.following.watch(table.get(self.full_name(name)), watcher)

    async def chunks(
        self, name: str, position: int, end: StreamEnd | None
    ) -> AsyncIterator[tuple[bytes, int]]:
        """Yield the data of a stream from a position up to its `end`, read by read.

        Each comes with the position at which it ends; there is nothing without an end.
        """
        while end is not None and position < end.tail:
            body, next_offset = await self.read(name, end.offset_of(position))
            position = parse_offset(next_offset, NEXT_OFFSET).position
            yield body, position

    async def read(self, name: str, offset: str) -> tuple[bytes, str]:
        """Return the data after an offset, and where to read on. Raises HeadgateError."""
        read = parse_target(f"{self.path(name)}?offset={offset}")
        if isinstance(read, HeadgateError):
            raise type(read)(read.detail)
        answered = await self.route.reads.read(read, self.full_name(name), None)
        assert isinstance(answered, RouteAnswer), "a catch-up read does not wait"
        assert isinstance(answered.body, bytes), "as a log has read it"
        return answered.body, answered.facts.next_offset


def _set(
    outcome: Later[AppendOutcome], stamp: Stamp | None, result: AppendOutcome | HeadgateError
) -> None:
    if not isinstance(result, HeadgateError):
        outcome.set_result(result)
    elif stamp is not None and isinstance(result, ProducerFenced | StreamBusy | StreamClosed):
        outcome.set_exception(ClaimLost(ENDED))
    else:
        outcome.set_exception(result)
