"""Answers that are over: found by their records, and ended where a process has left them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.models import record
from gateway.models.answer import RESTARTED, content_type_of
from gateway.models.dialects import dialect_of
from gateway.models.dialects.contract import TokenUsage
from gateway.models.record import EndEntry

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator

    from gateway.models.dialects.contract import EarlyEnd
    from gateway.models.record import AnswerRecord, Outcome, RequestEntry, ResponseEntry
    from gateway.models.streams import AnswerStreams, StreamEnd


class StoredAnswer(NamedTuple):
    """An answer that is over, up to a position of its stream: its readers read the log."""

    name: str
    request: RequestEntry
    head: ResponseEntry
    position: int
    outcome: Outcome

    async def wait_for_head(self) -> ResponseEntry:
        """Return the head that clients get."""
        return self.head

    @property
    def is_over(self) -> bool:
        """True: nothing more will be appended."""
        return True

    @staticmethod
    def bytes_after(_position: int) -> bytes | None:
        """Return None: none of it is in memory."""
        return None

    @staticmethod
    async def wait_beyond(_position: int) -> None:
        """Return at once."""

    @staticmethod
    def stop(_failure: EarlyEnd) -> None:
        """Do nothing."""

    @staticmethod
    async def wait_for_end() -> None:
        """Return at once."""


class StoredAnswers:
    """The stored answers below the folder of a route."""

    def __init__(
        self, streams: AnswerStreams, clock: Callable[[], float], outcomes: Counter[Outcome]
    ) -> None:
        """Count in `outcomes` the answers that are ended here."""
        self._streams = streams
        self._clock = clock
        self._outcomes = outcomes

    async def records(self, name: str, *, is_running: bool = False) -> list[AnswerRecord]:
        """Return what is recorded of the answers in a stream, in order; nothing if it is gone.

        The last one is ended if it is not over, unless it `is_running` in this process.
        """
        found = await record.read_records(self._streams, name)
        if found and not is_running:
            if await self._streams.end(name) is None:
                await record.delete_beside(self._streams, name)
                return []
            await self._finish(name, found[-1])
        return found

    async def finish(self, name: str) -> bool:
        """End the last answer in a stream, which no process writes; return whether it was not over.

        The record of a stream that is gone is deleted.
        """
        found = await record.read_records(self._streams, name)
        if not found:
            return False
        if await self._streams.end(name) is None:
            await record.delete_beside(self._streams, name)
            return found[-1].end is None
        return await self._finish(name, found[-1])

    async def delete(self, name: str) -> None:
        """Delete a stream of answers with its record; if one runs, its call is stopped."""
        await self._streams.delete(name)
        await record.delete_beside(self._streams, name)

    async def _finish(self, name: str, last: AnswerRecord) -> bool:
        """End an answer that no process writes any more; return False if it was over.

        A stream whose only answer has got no response is deleted.
        """
        if last.end is not None:
            return False
        end = await self._streams.end(name)
        if end is None or (last.response is None and not last.request.position):
            await self.delete(name)
            return True
        if last.request.is_in_named_stream and (parted := await self._parted(name, last, end)):
            last.end = parted
        else:
            last.end = await self._broken_off(name, last.request, end)
        await self._streams.append(
            record.record_name(name),
            record.CONTENT_TYPE,
            [record.encoded(last.end)],
            close=not last.request.is_in_named_stream,
        )
        self._outcomes[last.end.outcome] += 1
        return True

    async def _parted(self, name: str, last: AnswerRecord, end: StreamEnd) -> EndEntry | None:
        """Return the end of an answer that has its parting event, and lacks the record of it."""
        latest = b""
        async for data in self._streams.chunks(name, last.request.position):
            latest = data  # reads end behind whole events
        found = record.parting_behind(latest)
        if found is None:
            return None
        event, length = found
        position = end.tail - length
        return EndEntry(event.outcome, self._clock(), event.usage, position, event.reason)

    async def _broken_off(self, name: str, request: RequestEntry, end: StreamEnd) -> EndEntry:
        """Write the end of an answer into its stream, and return it for the record."""
        position = end.tail
        if not end.is_closed:
            events = _failure(request)
            position += len(b"".join(events))
            events += record.parting(request, "failed", TokenUsage(), RESTARTED)
            closes = not request.is_in_named_stream
            await self._streams.append(name, content_type_of(request), events, close=closes)
        outcome: Outcome = "complete" if request.is_whole else "failed"
        reason = None if request.is_whole else RESTARTED.sentence
        return EndEntry(outcome, self._clock(), TokenUsage(), position, reason)


def _failure(request: RequestEntry) -> list[bytes]:
    """Return the event that says that the gateway stopped; none for a body without events."""
    if request.is_whole or request.is_plain:
        return []
    return [dialect_of(request.path).failure_event(request.path, RESTARTED)]


def stored_answers(name: str, records: Iterable[AnswerRecord]) -> Iterator[StoredAnswer]:
    """Yield the answers in a stream that got a response to store and are over."""
    for one in records:
        if one.response is not None and one.end is not None:
            end = one.end
            yield StoredAnswer(name, one.request, one.response, end.position, end.outcome)
