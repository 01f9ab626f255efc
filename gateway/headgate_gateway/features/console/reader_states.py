"""The live readers of a feed as the console shows them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headgate_gateway.features.questions.readers import ReaderMode, ReaderStatus
    from headgate_gateway.live.contract import Parked, Waiter
    from headgate_gateway.live.feed import Feed
    from headgate_gateway.live.long_polls import LongPolls
    from headgate_gateway.live.sse_readers import SseReader, SseReaders
    from headgate_gateway.telemetry.traffic import Ended


class ReaderState(NamedTuple):
    """A live reader as the console shows it: the offset that it has reached, and its status.

    `since` is loop time. A long-poll has no `sent_bytes` before its end. `end` ends the response,
    for the reason that it is called with.
    """

    reader: Waiter | SseReader
    mode: ReaderMode
    status: ReaderStatus
    offset: str
    since: float
    sent_bytes: int | None
    end: Callable[[Ended], None]


def reader_states(feed: Feed[Any, Any]) -> Iterator[ReaderState]:
    """Yield the state of each reader; they may come and go between two of them."""
    yield from _of_events(feed.sse_readers)
    yield from _of_polls(feed.long_polls)


def _of_events(readers: SseReaders[Any, Any]) -> Iterator[ReaderState]:
    for reader in readers:
        if reader in readers:
            sent, end = reader.sent_bytes, partial(readers.end, reader)
            status = _status(readers, reader)
            yield ReaderState(reader, "sse", status, reader.position, reader.since, sent, end)


def _status(readers: SseReaders[Any, Any], reader: SseReader) -> ReaderStatus:
    if reader in readers.turns.live or reader in readers.ahead:
        return "live"
    return "slow" if reader.paused else "catching up"


def _of_polls(waiting: LongPolls[Any, Any]) -> Iterator[ReaderState]:
    for waiter, parked in list(waiting.parked.items()):
        if waiter in waiting.parked:
            status: ReaderStatus = "catching up" if waiter in waiting.late else "live"
            end = partial(_end_poll, waiting, waiter, parked)
            yield ReaderState(waiter, "long-poll", status, parked.position, parked.since, None, end)


def _end_poll(waiting: LongPolls[Any, Any], waiter: Waiter, parked: Parked, ended: Ended) -> None:
    """End a long-poll, unless its connection waits with another one by now."""
    if waiting.parked.get(waiter) is parked:
        waiting.end_at_once(waiter, ended)


def readers_by_mode(feeds: Sequence[Feed[Any, Any]]) -> dict[ReaderMode, int]:
    """Return the number of readers of some feeds by their mode; nothing if there is no feed."""
    if not feeds:
        return {}
    return {
        "sse": sum(len(feed.sse_readers) for feed in feeds),
        "long-poll": sum(len(feed.long_polls.parked) for feed in feeds),
    }
