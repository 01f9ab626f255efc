"""The progress of a run by its stream: steps, number of items, unfinished parts and end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from headgate import following, records
from headgate.errors import ProtocolError
from headgate.names import BEGINNING
from headgate.records import CUT
from headgate.runs.formats import NothingOpen, format_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate.following import Batch
    from headgate.records import RunRecord, RunState
    from headgate.runs.formats import Completion, Format
    from headgate.runs.stored.places import Place
    from headgate.stream_requests import StreamRequests

DELTA = "text-delta"  # the type of the chunks of a UI message that hold text
# Looked at one by one, until other work has its turn: some servers send all of a stream at once.
ITEMS_AT_ONCE = 1000
MOST_HALF_BYTES = 4 << 20  # as much as an answer of a model has, with all that is around its words

_decoder = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Step:
    """The end of a step of a run, yielded by its source after the items of that step.

    The source is asked for more once the stream has the step.

    Attributes:
        key: The name of the step among those of its run.
        value: Any JSON value, for the process that takes the run over.
        items: More items of the step. Up to 999, with the chunks that the format adds, and up to
            256 KiB with `value`, are in the stream at once with the step, or not at all. (A request
            has 1,000 chunks, and the step is one.)
    """

    key: str
    value: object = None
    items: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The content of a run's stream as the run is taken over; empty for a run that begins.

    Attributes:
        items: Number of items that readers are sent.
        steps: The values of the steps that are done, by their keys, in their order.
        half: The items after the last step: of one that was under way. None of more than 4 MiB.
        format: The name of the format of the run.
    """

    items: int = 0
    steps: dict[str, Any] = field(default_factory=dict)
    half: Sequence[Any] = ()
    format: str = ""

    @property
    def last_step(self) -> str | None:
        """The key of the step that was done last."""
        return next(reversed(self.steps), None)

    @property
    def text(self) -> str:
        """The text of the step that was under way, as far as it came."""
        return "".join(map(_text, self.half))


def _text(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and item.get("type") == DELTA:
        return str(item["delta"])
    return ""


class StreamSurvey:
    """The content of a run's stream, gathered from its beginning on.

    With `completes`, also which items would complete what is begun, and how far its steps are: that
    takes each by itself.
    """

    def __init__(self, *, completes: bool = False) -> None:
        self.form: Format | None = None
        self.start: str | None = None  # the id of the start that made the stream
        self.end: RunState | None = None
        self.count = 0  # of the items that readers are sent
        self.completion: Completion = NothingOpen()
        self.step_bytes = 0  # of their records
        self._completes = completes
        self._first = 0  # items of the run itself, before those of its source
        self._steps: dict[str, Any] = {}
        self._half: list[bytes] = []
        self._half_bytes = 0

    def written(self) -> Written:
        """Return how far the run is."""
        half = [] if self._half_bytes > MOST_HALF_BYTES else [*map(msgspec.json.decode, self._half)]
        name = "" if self.form is None else self.form.name
        return Written(self.count, self._steps, half, name)

    async def take(self, batch: Batch) -> None:
        """See the items of a batch."""
        for body in batch.bodies:
            parsed = items_of(body)
            if not (self._completes or records.MARK in body):
                self.count += len(parsed)
                continue
            for number, item in enumerate(parsed, 1):
                self._see(bytes(item))
                if number % ITEMS_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _see(self, item: bytes) -> None:
        record = records.parse_record(item)
        if record is None:
            self.count += 1
            self.completion.take(item)
            self._half_bytes += len(item)
            if self.count > self._first and self._half_bytes <= MOST_HALF_BYTES:
                self._half.append(item)
        else:
            self._learn(record, len(item))

    def _learn(self, record: RunRecord, size: int) -> None:
        if record.format is not None and self.form is None:
            self.form = format_named(record.format)
            self.start = record.start
            if self._completes:
                self.completion = self.form.completion()
                self._first = len(self.form.opening("id", None))
        if record.step is not None:
            self.step_bytes += size
            self._steps.pop(record.step, None)  # so that the last one is the last
            self._steps[record.step] = record.value
            self._half, self._half_bytes = [], 0
        if record.end is not None:
            self.end = record.end
            self.count += self.form is not None and self.form.numbers_end


def items_of(body: bytes) -> list[msgspec.Raw]:
    """Return the items of a body; ProtocolError if it holds no JSON."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError("this stream is not a run: it does not hold JSON") from error


async def survey(
    stream: StreamRequests,
    *,
    completes: bool = False,
    until: Callable[[StreamSurvey], bool] = lambda _: False,
) -> StreamSurvey:
    """See what is in the stream up to its tail, or until enough has been seen."""
    seen = StreamSurvey(completes=completes)
    async with aclosing(following.catch_up(stream, BEGINNING)) as batches:
        async for _, batch in batches:
            await seen.take(batch)
            if until(seen):
                break
    return seen


async def how_it_ended(run: Place) -> RunState:
    """Return the end of a run whose stream is closed."""
    return (await survey(run.items)).end or CUT


async def last_items(run: Place, state: RunState) -> list[bytes]:
    """Return what ends a run in place of its producer, in the way of its format."""
    unfinished = await survey(run.items, completes=True)
    ending = unfinished.completion.closing()
    if unfinished.form is not None:
        ending += unfinished.form.ending(state)
    return [records.end(state, unfinished.count), *map(msgspec.json.encode, ending)]
