"""The readers of an answer that is stopped once nobody reads it any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, TypeAlias

from headgate.dialects.progress import EarlyEnd

from gateway.errors import HeadgateError
from gateway.features.redis.store import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.features.models.answer import WrittenAnswer
    from gateway.features.models.answers import ModelAnswers
    from gateway.features.models.provider.requests import AnswerRequest
    from gateway.protocol.streams.state import Record, StreamState
    from gateway.streams.follower import HostedFeed
    from gateway.web.requests.request import Request

# Longer than a client takes to come back after its connection broke, or between two polls.
UNREAD_S = 5.0
LOOK_S = 0.5  # between two looks at the readers of the stream
UNREAD = EarlyEnd("answer_left", f"nobody has read the answer for {UNREAD_S:g} seconds")


Leave: TypeAlias = Literal["stop-unnamed", "stop", "go-on"]


def is_stopped_unread(request: AnswerRequest, leave: Leave) -> bool:
    """Return whether an answer is stopped once nobody reads it, by the setting `leave`."""
    is_named = request.idempotency_key or request.stream
    stops = leave == "stop" or (leave == "stop-unnamed" and not is_named)
    return stops and not request.in_background


class AnswerReaders:
    """The readers of one answer: those at its route, and those of its stream.

    A client whose response Headgate has ended counts as a reader until it, or another one, has come
    after that: it may come back late.
    """

    def __init__(self, answer: WrittenAnswer, answers: ModelAnswers) -> None:
        """Stop the answer once nobody has read it for UNREAD_S, unless its route is closing."""
        self._answer = answer
        self._answers = answers
        self._name, self._streams = answer.name, answer.streams
        self._count = 0  # at the route
        self._is_due_at_stream = False
        self._is_over = False
        self._watching: asyncio.Task[None] | None = None
        self._on_empty = self._streams.route.feeds.on_empty
        self._on_empty[self._streams.full_name(self._name)] = self._note_empty

    def begin(self, request: Request) -> None:
        """Count one more request at the route, until its end."""
        self._count += 1
        self._end_watch()
        request.call_at_end(self._leave)

    def _leave(self) -> None:
        """Count one less; begin to look for readers of the stream if that was the last one."""
        self._count -= 1
        if not (self._count or self._is_over):
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> None:
        """Look no further: the answer is over, and the next one may be in its stream."""
        self._is_over = True
        self._end_watch()
        self._on_empty.pop(self._streams.full_name(self._name), None)

    def _note_empty(self, feed: HostedFeed) -> None:
        """Note whether a client of the feed, which has no readers any more, will come back."""
        self._is_due_at_stream = feed.sse_readers.due_back > 0

    def _end_watch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        time = asyncio.get_running_loop().time
        read_at = time()

        def on_use() -> None:
            nonlocal read_at
            read_at = time()

        end_watch = self._watch_uses(on_use)
        try:
            while time() < read_at + UNREAD_S and self._answer.counts.ended_at is None:
                await asyncio.sleep(LOOK_S)
                if self._has_readers() or await self._has_readers_elsewhere():
                    on_use()
        finally:
            end_watch()
        if not self._answers.is_closing:
            self._answer.stop(UNREAD)

    def _has_readers(self) -> bool:
        """Return whether a live reader waits for the stream here, or will come back."""
        active = self._streams.route.table.peek(self._streams.full_name(self._name))
        feeds = () if active is None else active.feeds
        return self._is_due_at_stream or any(feed.has_readers for feed in feeds)

    async def _has_readers_elsewhere(self) -> bool:
        """Return whether another gateway follows the stream, or may: this one does."""
        if (store := store_of(self._streams.route.table.log)) is None:
            return False
        try:
            return await store.followers(self._streams.full_name(self._name)) != 1
        except HeadgateError:
            return True

    def _watch_uses(self, on_use: Callable[[], None]) -> Callable[[], None]:
        """Call `on_use` at each read of the stream, here or elsewhere; return how to end that."""
        table, path = self._streams.route.table, self._streams.full_name(self._name)
        if not self._streams.is_shared:
            uses = table.deadlines.uses
            uses[path] = on_use
            return lambda: uses.__delitem__(path)
        known: StreamState | None = None

        def on_change(state: StreamState | None, _records: Sequence[Record]) -> None:
            """Take a later deadline without an append for a read."""
            nonlocal known
            if known is not None and state is not None and state.tail == known.tail:
                on_use()
            known = state

        return self._streams.watch(self._name, on_change)
