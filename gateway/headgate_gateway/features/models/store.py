"""Completions in the log: found by their records, and ended where a process has left them."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate.dialects.progress import AnswerProgress
from headgate.events import events_of
from headgate_gateway.errors import LogUnavailable, StreamGone, StreamNotFound
from headgate_gateway.features.models import record
from headgate_gateway.features.models.claims import Claim, closed_with
from headgate_gateway.features.models.completion import Completion
from headgate_gateway.features.models.ends import RESTARTED, ending, written_ending
from headgate_gateway.features.models.record import EndEntry, RequestEntry
from headgate_gateway.features.models.streams import TAKEN, ClaimLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.dialects.progress import EarlyEnd, TokenUsage
    from headgate_gateway.features.models.ends import Outcome
    from headgate_gateway.features.models.streams import CompletionStreams, StreamEnd


# Tries to end a completion: each that fails has found what another process has appended meanwhile.
MOST_ENDS = 5
# Models with counts of their own: each is two lines of the metrics.
MOST_MODELS = 1000
# Characters of a model's name; callers choose it, and the names of providers have 60 at most.
LONGEST_MODEL = 128
OTHER = "other"


class TokenCounts:
    """Counts for a bounded number of models; all others are counted as `other`."""

    def __init__(self) -> None:
        self.models: dict[str, tuple[int, int]] = {}  # tokens of the input, and of the output

    def add(self, model: str | None, usage: TokenUsage) -> None:
        """Count the tokens of a completion.

        A completion without any counts no model: the provider may not have one of this name.
        """
        if not (usage.input_tokens or usage.output_tokens):
            return
        name = OTHER if model is None or len(model) > LONGEST_MODEL else model
        if name not in self.models and len(self.models) >= MOST_MODELS:
            name = OTHER
        before = self.models.get(name, (0, 0))
        added = usage.input_tokens or 0, usage.output_tokens or 0
        self.models[name] = before[0] + added[0], before[1] + added[1]


class StreamRecord(NamedTuple):
    """The completions in a stream, in order, and the id of the record's stream, if any.

    The record was read up to `position`.
    """

    completions: list[Completion]
    stream_id: int | None
    position: int = 0

    @property
    def stored(self) -> list[Completion]:
        """The completions that got a response to store and are over."""
        return [it for it in self.completions if it.head is not None and it.end is not None]

    @property
    def is_unfinished(self) -> bool:
        """True if the last completion lacks its end."""
        return bool(self.completions) and self.completions[-1].end is None


async def read_record(streams: CompletionStreams, name: str) -> StreamRecord:
    """Return what is recorded of the completions in a stream. Raises HeadgateError.

    A record that is deleted meanwhile has nothing: another request's, which the provider refused.
    """
    found: list[Completion] = []
    read_to = 0
    try:
        end = await streams.end(record.record_name(name))
        async for data, position in streams.chunks(record.record_name(name), 0, end):
            read_to = position
            for entry in record.decoded(data):
                if isinstance(entry, RequestEntry):
                    found.append(Completion(name, entry, streams))
                elif found:
                    found[-1].add(entry)
    except (StreamNotFound, StreamGone):
        return StreamRecord([], None)
    return StreamRecord(found, None if end is None else end.stream_id, read_to)


class CompletionStore:
    """The stored completions below the folder of a route."""

    def __init__(
        self,
        streams: CompletionStreams,
        clock: Callable[[], float],
        is_written: Callable[[RequestEntry], Awaitable[bool]],
    ) -> None:
        """Ask `is_written` whether another gateway writes the completion of a request."""
        self.streams = streams
        self.clock = clock
        self.unended: set[str] = set()  # streams whose last one lacks its end, and nobody writes it
        # Of all completions of the route whose ends this process has recorded.
        self.outcomes: Counter[Outcome] = Counter()
        self.tokens = TokenCounts()
        self._is_written = is_written

    async def records(self, name: str, *, is_running: bool = False) -> StreamRecord:
        """Return what is recorded of the completions in a stream, in order; nothing if it is gone.

        The last one is ended if it is not over, unless it `is_running`. Raises ClaimLost if
        another gateway has just begun it.
        """
        found = await read_record(self.streams, name)
        if is_running or not found.completions:
            return found
        if found.is_unfinished and await self._is_written(found.completions[-1].request):
            raise ClaimLost(TAKEN)
        if await self.streams.end(name) is None:
            if not self.streams.is_shared:  # else others may read it, and a claim replaces it
                await record.delete_record(self.streams, name)
            return StreamRecord([], found.stream_id)
        if not found.is_unfinished:
            return found
        await self.finish(name)
        return await read_record(self.streams, name)

    async def end_of(self, name: str) -> EndEntry | None:
        """Return the end of the last completion, written here if nobody has; None if it is gone."""
        await self.finish(name)
        found = (await read_record(self.streams, name)).completions
        return found[-1].end if found else None

    async def finish(self, name: str, failure: EarlyEnd | None = None) -> bool:
        """End the last completion in a stream; return whether it was not over.

        With a `failure` also if another gateway writes it. The record of a stream that is gone is
        deleted.
        """
        for _ in range(MOST_ENDS):
            found = await read_record(self.streams, name)
            if not found.completions:
                return False
            end = await self.streams.end(name)
            last = found.completions[-1]
            if end is None or (last.head is None and not last.request.position):
                await self.streams.delete(name, None if end is None else end.stream_id)
                await record.delete_record(self.streams, name, found.stream_id)
                return last.end is None
            with contextlib.suppress(ClaimLost):  # another process ends it, too
                return await self._finish(found, end, failure)
        raise LogUnavailable("too many processes met on this answer")

    async def delete(self, name: str) -> None:
        """Delete a stream of completions with its record; if one runs, its call is stopped."""
        await self.streams.delete(name)
        await record.delete_record(self.streams, name)

    def count(self, request: RequestEntry, end: EndEntry) -> None:
        """Count a completion whose end this process has recorded."""
        self.outcomes[end.outcome] += 1
        self.tokens.add(request.model, end.usage)

    async def _finish(self, found: StreamRecord, end: StreamEnd, failure: EarlyEnd | None) -> bool:
        """End a completion; return False if it was over, or if another gateway writes it.

        Raises ClaimLost if another process has appended something.
        """
        last = found.completions[-1]
        request = last.request
        if last.end is not None or (failure is None and await self._is_written(request)):
            return False
        claim = Claim(self.streams, last.name, request, len(found.completions) - 1)
        claim.events.stream_id, claim.record.stream_id = end.stream_id, found.stream_id
        progress, latest = await self._events(last, end)
        parted = record.parting_after(latest) if request.is_in_named_stream else None
        if parted is not None:  # only the record lacks its end
            event, length = parted
            position = end.tail - length
            entry = EndEntry(event.outcome, self.clock(), event.usage, position, event.reason)
        else:
            closed = closed_with(end)  # by a process that has not recorded it
            if closed is not None:
                ended = written_ending(closed, progress)
            elif failure is None:
                ended = ending("gone", progress, RESTARTED)
            else:
                ended = ending("stopped elsewhere", progress, failure)
            position = end.tail
            if not end.is_closed:
                events = await claim.append_end(ended, progress, position, tail=end.tail)
                position += sum(map(len, events))
            entry = record.end_entry(ended, self.clock(), progress.usage, position)
        await claim.record_end(entry)
        self.count(request, entry)
        return True

    async def _events(self, completion: Completion, end: StreamEnd) -> tuple[AnswerProgress, bytes]:
        """Return what the events of a completion have said, and the latest ones, unless plain."""
        progress, latest = completion.request.dialect.progress(), b""
        if completion.request.is_plain:
            return AnswerProgress(), latest
        begin = completion.request.position
        async for latest, _ in self.streams.chunks(completion.name, begin, end):
            for event in events_of(latest):  # reads end after whole events
                progress.add(event)
        return progress, latest


class IndexedCompletion(msgspec.Struct, frozen=True):
    """The completion that has an id: its stream, and where it begins there."""

    name: str
    position: int


_indexed = msgspec.json.Decoder(list[IndexedCompletion])


class CompletionIndex:
    """The places of completions by the ids of their responses: a small stream for each id.

    Only the owner of a completion can compute its name.
    """

    def __init__(self, prefix: str, streams: CompletionStreams) -> None:
        self._prefix = prefix
        self._streams = streams

    def _stream(self, owner: bytes, response_id: str) -> str:
        digest = record.owner_digest(owner, f"{self._prefix}\nresponse\n{response_id}")
        return f"responses/{digest}"

    async def add(self, owner: bytes, found: IndexedCompletion, response_id: str) -> None:
        """Store where an owner's latest completion with this id is. Raises HeadgateError."""
        if owner:
            stream = self._stream(owner, response_id)
            await self._streams.replace(stream, record.CONTENT_TYPE, msgspec.json.encode(found))

    async def find(self, owner: bytes, response_id: str) -> IndexedCompletion | None:
        """Return where an owner's completion with this id is, or None. Raises HeadgateError."""
        stream = self._stream(owner, response_id)
        async for data, _ in self._streams.chunks(stream, 0, await self._streams.end(stream)):
            return _indexed.decode(data)[0]
        return None
