"""Folding: neighbouring deltas of one part become one event, and nothing else changes.

A fold of any range of a stream is valid, whichever ranges come before and after it: the deltas add
up to the same text. Events that are not understood pass byte by byte, in their order.
"""

from __future__ import annotations

import contextlib
from functools import cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from headgate.dialects.contract import Delta
from headgate.dialects.registry import dialects
from headgate.events import event_ends, object_frame
from headgate.json_values import NOT_JSON, as_utf8

from gateway.features.decoded import (
    LONGEST_DECODED,
    has_more_values,
    messages_of,
    part_as_utf8,
)
from gateway.protocol.bodies.content import EVENTS_TYPE, is_json, media_type

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from headgate.dialects.contract import Find
    from headgate.events import Frame

_TIMED = Delta(("delta",), ("timestamp",))
_PLACES = {
    # UI messages of the AI SDK
    "text-delta": Delta(("delta",)),
    "reasoning-delta": Delta(("delta",)),
    "tool-input-delta": Delta(("inputTextDelta",)),
    # AG-UI
    "TEXT_MESSAGE_CONTENT": _TIMED,
    "TOOL_CALL_ARGS": _TIMED,
    "REASONING_MESSAGE_CONTENT": _TIMED,
    "THINKING_TEXT_MESSAGE_CONTENT": _TIMED,
}


@cache
def _finders() -> Mapping[str, Find]:
    return {type_: find for dialect in dialects() for type_, find in dialect.deltas.items()}


def find_delta(event: dict[str, Any]) -> Delta | None:
    """Return where an event has its text; None for an event that stands alone.

    An event with usage, log probabilities, a signature or an unknown type stands alone.
    """
    kind = event.get("type") or event.get("event_type") or event.get("object")
    if not isinstance(kind, str):
        return None
    find = _finders().get(kind)
    if find is not None:
        return find(event)
    return None if event.get("logprobs") else _PLACES.get(kind)


VERSION = 1  # stands in ETags: the same range folded by another version is another response
_EVENTS_PER_STEP = 64
_LONG = 64 * 1024  # bytes of an event that is a step of its own
_MOST_VALUES = 50_000  # a delta has some tens


class FoldedEvent(NamedTuple):
    """An event that stands for one or more of the log, the last of which ends at `end`."""

    end: int
    data: bytes


class _Event(NamedTuple):
    """An event of the log: `text` is its JSON, and the bytes around that are its `frame`.

    An event without a frame is not understood.
    """

    whole: FoldedEvent
    frame: tuple[bytes, bytes] | None = None
    text: bytes = b""


class _DeltaEvent:
    """An event, split into its text and all the rest, which its neighbours must have in common."""

    __slots__ = ("frame", "free", "path", "rest", "text")

    def __init__(self, frame: tuple[bytes, bytes], event: dict[str, Any], delta: Delta) -> None:
        path, names = delta
        self.frame = frame
        self.path = path
        self.free = {name: event[name] for name in names if name in event}
        for name in self.free:
            event[name] = None
        holder = _holder(event, path)
        self.text: str = holder[path[-1]]
        holder[path[-1]] = ""
        self.rest = event

    def is_like(self, other: _DeltaEvent) -> bool:
        """Return whether the two events differ only in their text and free fields."""
        return (
            self.frame == other.frame
            and self.path == other.path
            and self.rest == other.rest
            and self.free.keys() == other.free.keys()
        )

    def with_text(self, text: str, last: _DeltaEvent) -> bytes:
        """Return the event with this text, and the free fields of the last piece."""
        event = self.rest
        _holder(event, self.path)[self.path[-1]] = text
        event.update(last.free)
        before, after = self.frame
        return before + msgspec.json.encode(event) + after


class _Fold:
    """The events of a fold so far; the last ones may be pieces that are not joined yet."""

    def __init__(self) -> None:
        self.events: list[FoldedEvent] = []
        self._pieces: list[_DeltaEvent] = []
        self._unjoined: list[FoldedEvent] = []

    def add(self, event: _Event) -> None:
        """Add the next event."""
        piece = self._piece(event)
        if piece is None:
            self.join()
            self.events.append(event.whole)
            return
        if self._pieces and not self._pieces[0].is_like(piece):
            self.join()
        self._pieces.append(piece)
        self._unjoined.append(event.whole)

    def join(self) -> None:
        """Join the pieces so far; what follows is not joined with them."""
        pieces, events = self._pieces, self._unjoined
        if len(pieces) > 1:
            text = "".join([piece.text for piece in pieces])
            with contextlib.suppress(ValueError, msgspec.MsgspecError):  # JSON that is read only
                events = [FoldedEvent(events[-1].end, pieces[0].with_text(text, pieces[-1]))]
        self.events += events
        self._pieces, self._unjoined = [], []

    def _piece(self, event: _Event) -> _DeltaEvent | None:
        """Return an event as a piece that may be joined; None for one that stands alone."""
        if event.frame is None or _has_too_many(event.text):
            return None
        try:
            value = msgspec.json.decode(event.text)
        except NOT_JSON:
            return None
        delta = find_delta(value) if isinstance(value, dict) else None
        if delta is None or not _has_text(value, delta[0]):
            return None
        return _DeltaEvent(event.frame, value, delta)


def fold(
    content_type: str, start: int, records: Sequence[bytes]
) -> Generator[None, None, list[FoldedEvent]]:
    """Fold the records of a stream that follow position `start`, in steps of a millisecond.

    Streams of other types than JSON and server-sent events stay as they are.
    """
    fold = _Fold()
    for number, event in enumerate(_events(content_type, start, records)):
        if event is not None:
            fold.add(event)
        if number % _EVENTS_PER_STEP == 0 or event is None or len(event.text) > _LONG:
            yield
    fold.join()
    return fold.events


def _events(content_type: str, start: int, records: Sequence[bytes]) -> Iterator[_Event | None]:
    if is_json(content_type):
        return _messages_of(start, records)
    if media_type(content_type) == EVENTS_TYPE:
        return _sent_events_of(start, records)
    ends = accumulate(map(len, records), initial=start)
    return (_Event(FoldedEvent(*it)) for it in zip(islice(ends, 1, None), records, strict=True))


def _messages_of(start: int, records: Sequence[bytes]) -> Iterator[_Event | None]:
    """Yield the messages of a JSON stream; those of one record end where the record does.

    None is yielded between the steps of long work.
    """
    for data in records:
        start += len(data)
        for text in messages_of(data):
            yield None if text is None else _Event(FoldedEvent(start, text), (b"", b""), text)


def _sent_events_of(start: int, records: Sequence[bytes]) -> Iterator[_Event]:
    """Yield the server-sent events of a stream, which begins at a whole one.

    A record may end amid an event: what completes it is not understood.
    """
    is_between = True
    for data in records:
        if is_between and (found := object_frame(data)):  # as nearly all are
            start += len(data)
            yield _framed(start, found)
            continue
        begin = 0
        for end in event_ends(data):
            whole = data[begin:end]
            found = object_frame(whole) if is_between else None
            yield _unframed(start + end, whole) if found is None else _framed(start + end, found)
            begin, is_between = end, True
        start += len(data)
        if begin < len(data):
            yield _unframed(start, data[begin:])
            is_between = False


def _framed(end: int, found: Frame) -> _Event:
    """Return the whole event that ends at `end`, as text."""
    before, text, after = map(as_utf8, found)
    return _Event(FoldedEvent(end, before + text + after), (before, after), text)


def _unframed(end: int, data: bytes) -> _Event:
    """Return an event that is not understood, or a part of one, as text."""
    return _Event(FoldedEvent(end, part_as_utf8(data)))


def _has_too_many(text: bytes) -> bool:
    """Return whether an event is longer, or may have more values, than are decoded in a step."""
    if len(text) <= _LONG:
        return False
    return len(text) > LONGEST_DECODED or has_more_values(text, _MOST_VALUES)


def _holder(event: dict[str, Any], path: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - an object or an array
    """Return the object or array in an event that has the value at the end of a path."""
    value: Any = event
    for step in path[:-1]:
        value = value[step]
    return value


def _has_text(event: dict[str, Any], path: tuple[str | int, ...]) -> bool:
    try:
        return isinstance(_holder(event, path)[path[-1]], str)
    except (KeyError, IndexError, TypeError):
        return False
