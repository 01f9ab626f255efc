"""The messages of a stream: server-sent events, JSON values, or pieces of text or of bytes."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate.events import BOM, EventSplitter, EventTooLong
from headgate_gateway.features.decoded import is_events, messages_of
from headgate_gateway.protocol.bodies.content import is_json, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Bytes of a message, of some megabytes where an image is in it; each copy of 4 MiB takes 2 ms.
LONGEST_MESSAGE = 4 << 20
SLICE_BYTES = 64 * 1024  # of a record that are split at once: less than a millisecond
LONGEST_PIECE = 256 * 1024  # bytes of a record that is no message
_Decoder = codecs.getincrementaldecoder("utf-8")
_CHARACTER_BYTES = 4  # at most


class StreamMessage(NamedTuple):
    """A message, which lies between two positions of its stream.

    A reader can resume after it if it `is_border`.
    """

    data: bytes
    start: int
    end: int
    is_border: bool = True


class Group(NamedTuple):
    """Bytes of a view, and the offset behind the message of the stream that they came from."""

    end: str
    data: bytes


class Splitter(Protocol):
    """The splitter of one stream's records into messages, in order."""

    def messages(self, record: bytes, end: int) -> Iterator[StreamMessage | None]:
        """Yield the messages that are complete with a record, which ends at `end`.

        None is yielded between the steps of long work.
        """

    def rest(self) -> bytes:
        """Return the message that the end of the stream completes; b"" if there is none."""


class SseSplitter:
    """The events of a `text/event-stream`, each with its blank line; records may cut them."""

    def __init__(self, on_left_out: Callable[[int], object]) -> None:
        self._on_left_out = on_left_out
        self._whole = EventSplitter(LONGEST_MESSAGE)
        self._start: int | None = None  # of the event that is not complete
        self._mark = BOM  # which parsers leave out at the beginning of a stream

    def messages(self, record: bytes, end: int) -> Iterator[StreamMessage | None]:
        """Yield the events that are complete now; one that is too long is left out."""
        if self._start is None:
            self._start = end - len(record)
        for at in range(0, len(record), SLICE_BYTES):
            part = record[at : at + SLICE_BYTES]
            try:
                events = self._whole.feed(part)
            except EventTooLong:
                left_out_from, self._start = self._start, end - len(record) + at + len(part)
                self._whole = EventSplitter(LONGEST_MESSAGE)
                self._on_left_out(self._start - left_out_from)
                continue
            for event in events:
                start, self._start = self._start, self._start + len(event)
                yield StreamMessage(event.removeprefix(self._mark), start, self._start)
                self._mark = b""
            if len(record) > SLICE_BYTES:
                yield None

    def rest(self) -> bytes:
        """Return the last event, whose blank line is missing."""
        return self._whole.rest().removeprefix(self._mark)


class JsonSplitter:
    """The messages of a JSON stream, of which a record may have several."""

    def messages(self, record: bytes, end: int) -> Iterator[StreamMessage | None]:
        """Yield the messages of a record; only after the last one can a reader resume."""
        start, last = end - len(record), None
        for value in messages_of(record):
            if value is None:
                yield None
                continue
            if last is not None:
                yield StreamMessage(last, start, end, False)
            last = value
        assert last is not None, "no record is empty"
        yield StreamMessage(last, start, end)

    def rest(self) -> bytes:
        """Return b"", because each record is complete."""
        return b""


class TextSplitter:
    """The records of a text, in pieces; a character that one cuts comes with the next one."""

    def __init__(self) -> None:
        self._cut = b""

    def messages(self, record: bytes, end: int) -> Iterator[StreamMessage | None]:
        """Yield the text up to the last whole character, a long one in pieces.

        A reader that resumes after it gets the cut one whole, as views begin with their stream.
        """
        data = self._cut + record
        whole = _whole_until(data, len(data))
        self._cut = data[whole:]
        yield from _pieces(data[:whole] if self._cut else data, end - len(data), end, is_text=True)

    def rest(self) -> bytes:
        """Return the character that never became whole."""
        return self._cut


class ByteSplitter:
    """The records of a stream of bytes."""

    def messages(self, record: bytes, end: int) -> Iterator[StreamMessage | None]:
        """Yield the record, a long one in pieces."""
        yield from _pieces(record, end - len(record), end, is_text=False)

    def rest(self) -> bytes:
        """Return b"", because each record is complete."""
        return b""


def _pieces(data: bytes, start: int, end: int, *, is_text: bool) -> Iterator[StreamMessage | None]:
    """Yield a record of bytes or of whole characters, between two positions, in pieces.

    Only after the last one can a reader resume.
    """
    begin = 0
    while len(data) - begin > LONGEST_PIECE:
        cut = begin + LONGEST_PIECE
        if is_text:
            cut = _whole_until(data, cut)
        yield StreamMessage(data[begin:cut], start, end, False)
        yield None
        begin = cut
    yield StreamMessage(data[begin:] if begin else data, start, end)


def _whole_until(data: bytes, end: int) -> int:
    """Return the last position up to `end` at which no character of a text is cut."""
    earliest = max(0, end - _CHARACTER_BYTES)
    begun = (at for at in range(end - 1, earliest - 1, -1) if data[at] & 0xC0 != 0x80)
    decoder = _Decoder("replace")
    decoder.decode(data[next(begun, end) : end])
    return end - len(decoder.getstate()[0])


def splitter_of(content_type: str, on_left_out: Callable[[int], object]) -> Splitter:
    """Return a splitter of a stream of this type, which says how long a left out event was."""
    if is_json(content_type):
        return JsonSplitter()
    if is_events(content_type):
        return SseSplitter(on_left_out)
    return TextSplitter() if is_text(content_type) else ByteSplitter()
