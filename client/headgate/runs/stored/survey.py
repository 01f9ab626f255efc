"""A survey of a run's stream from a place on: its format, number of items, and end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from headgate import following, records
from headgate.errors import ProtocolError, StreamError, Unavailable
from headgate.runs.formats import NothingOpen, format_named
from headgate.runs.stored.progress import Written

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.following import Batch
    from headgate.records import RunRecord, RunState
    from headgate.runs.formats import Completion, Format
    from headgate.stream_requests import StreamRequests

START = "-1"
# Looked at one by one, until other work has its turn: some servers send all of a stream at once.
ITEMS_AT_ONCE = 1000
MOST_HALF_BYTES = 4 << 20  # as much as an answer of a model has, with all that is around its words

_decoder = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class RunMark:
    """A place in the stream of a run, with the number of items before it."""

    offset: str
    count: int
    form: Format | None  # None where the stream's first record tells it


BEGINNING = RunMark(START, 0, None)


class StreamSurvey:
    """Gathers what has been seen of a stream from an offset on.

    With `completes`, also which items would complete what is begun, and how far its steps are: that
    takes each by itself.
    """

    def __init__(self, offset: str, *, completes: bool = False) -> None:
        self.form: Format | None = None
        self.end: RunState | None = None
        self.tail = offset
        self.completion: Completion = NothingOpen()
        self._offset = offset
        # How many items are before the offset; elsewhere than at the beginning a record tells it.
        self._before = 0 if offset == START else None
        self._item_count = 0
        self._completes = completes
        self._first = 0  # items of the run itself, before those of its source
        self.step_bytes = 0  # of their records
        self._steps: dict[str, Any] = {}
        self._half: list[bytes] = []
        self._half_bytes = 0

    @property
    def count(self) -> int | None:
        """Number of items up to the place that was reached; None if it cannot be known."""
        return None if self._before is None else self._before + self._item_count

    @property
    def mark(self) -> RunMark | None:
        """The place where the survey began; None if no record tells how many are before it."""
        if self._before is None or self.form is None:
            return None
        return RunMark(self._offset, self._before, self.form)

    def written(self) -> Written:
        """Return how far the run is, with its beginning seen."""
        half = [] if self._half_bytes > MOST_HALF_BYTES else [*map(msgspec.json.decode, self._half)]
        name = "" if self.form is None else self.form.name
        return Written(self.count or 0, self._steps, half, name)

    async def take(self, batch: Batch) -> None:
        """See the items of a batch."""
        for body in batch.bodies:
            parsed = items_of(body)
            if not (self._completes or records.MARK in body):
                self._item_count += len(parsed)
                continue
            for number, item in enumerate(parsed, 1):
                self._see(bytes(item))
                if number % ITEMS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        self.tail = batch.position.offset

    def _see(self, item: bytes) -> None:
        record = records.parse_record(item)
        if record is None:
            self._item_count += 1
            self.completion.take(item)
            self._half_bytes += len(item)
            if self._item_count > self._first and self._half_bytes <= MOST_HALF_BYTES:
                self._half.append(item)
        else:
            self._learn(record, len(item))

    def _learn(self, record: RunRecord, size: int) -> None:
        if record.format is not None and self.form is None:
            self.form = format_named(record.format)
            if self._completes:
                self.completion = self.form.completion()
                self._first = len(self.form.opening("id", None))
        if record.count is not None and self._before is None:
            self._before = record.count - self._item_count
        if record.step is not None:
            self.step_bytes += size
            self._steps.pop(record.step, None)  # so that the last one is the last
            self._steps[record.step] = record.value
            self._half, self._half_bytes = [], 0
        if record.end is not None:
            self.end = record.end
            self._item_count += self.form is not None and self.form.numbers_end


def items_of(body: bytes) -> list[msgspec.Raw]:
    """Return the items of a body; ProtocolError if it holds no JSON."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError("this stream is not a run: it does not hold JSON") from error


async def survey(
    stream: StreamRequests,
    offset: str = START,
    *,
    completes: bool = False,
    until: Callable[[StreamSurvey], bool] = lambda _: False,
) -> StreamSurvey:
    """See what is in the stream from `offset` to its tail, or until enough has been seen."""
    seen = StreamSurvey(offset, completes=completes)
    async with aclosing(following.catch_up(stream, offset)) as batches:
        async for _, batch in batches:
            await seen.take(batch)
            if until(seen):
                break
    return seen


async def survey_if_there(
    stream: StreamRequests, offset: str, until: Callable[[StreamSurvey], bool] = lambda _: False
) -> StreamSurvey | None:
    """See what is there from an offset on that may be of no use; None if the server refuses it."""
    try:
        return await survey(stream, offset, until=until)
    except (ProtocolError, Unavailable):
        raise
    except StreamError:
        return None
