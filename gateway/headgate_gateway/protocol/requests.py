"""Requests: headers and queries of each operation as checked values (PROTOCOL.md section 5)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import BadRequest, HeadgateError
from headgate_gateway.protocol.bodies.content import (
    DEFAULT_CONTENT_TYPE,
    Records,
    check_content_type,
)
from headgate_gateway.protocol.bodies.multi_append import NO_MESSAGE, is_multi
from headgate_gateway.protocol.http.header_names import (
    CLOSED,
    FORKED_FROM,
    MULTI,
)
from headgate_gateway.protocol.http.paths import parse_query
from headgate_gateway.protocol.streams import offsets
from headgate_gateway.protocol.streams.offsets import Offset, parse_cursor, parse_offset
from headgate_gateway.protocol.streams.state import Lifetime, Stamp
from headgate_gateway.protocol.views import END_MARK, PLAIN, View, parse_view

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INTEGER = 2**53 - 1  # what JavaScript clients can hold
MAX_TTL_S = 10**10
MAX_PRODUCER_ID = 256  # characters; every state of its stream has the id
MAX_STREAM_SEQ = 1024

LAST_EVENT_ID = "lastEventId"  # the query parameter of event-source-polyfill

_INTEGER = re.compile(r"0|[1-9][0-9]*")
_DIGITS = re.compile(r"[0-9]{1,16}")
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?)\d*([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class _Read(msgspec.Struct, frozen=True):
    """A read from an `offset`: None for the beginning, NOW for the tail.

    Its response has the stream in a `view`, and the `reader_key`; `by_key` says whether its URL has
    that key, too, and is None for a URL without one. Where an SSE client resumes, `last_event_id`
    is the id of its last event. `others` are the parts of a query for an origin that the protocol
    does not know, in canonical form; of a catch-up with an ambiguous
    query, which only the origin can interpret, they are all parts of the query.
    """

    path: str
    target: str
    offset: Offset | str | None
    cursor: int | None = None
    view: View = PLAIN
    reader_key: str = ""
    by_key: bool | None = None
    last_event_id: str = ""
    others: tuple[str, ...] = ()
    is_clear: bool = True


class CatchUp(_Read, frozen=True, gc=False):
    """GET of existing data (section 5.6). Its cursor is None: all readers get the same response."""

    @property
    def is_fixed(self) -> bool:
        """True if the URL has an offset that the next stream at the path cannot share."""
        return self.is_clear and self.offset not in {None, offsets.NOW}


class LongPoll(_Read, frozen=True):
    """GET that waits for new data (section 5.7)."""


class Events(_Read, frozen=True):
    """GET of server-sent events (section 5.8)."""


Live = LongPoll | Events
Read = CatchUp | Live
MODES: dict[str, type[LongPoll] | type[Events]] = {"long-poll": LongPoll, "sse": Events}


class Append(msgspec.Struct, frozen=True):
    """A POST. `is_multi` says that the body has lengths; `records` are those of a long JSON body.

    Only the stream with the id `stream_id` accepts it; None for any stream at the path. With a
    `tail` the stream accepts it only if it ends there.
    """

    body: bytes
    content_type: str | None
    stream_seq: str | None
    producer: Stamp | None
    close: bool
    is_multi: bool = False
    records: Records | BadRequest | None = None
    stream_id: int | None = None
    tail: int | None = None


class AppendHead(msgspec.Struct, frozen=True):
    """The parsed fields of a POST, shared by appends with the same fields."""

    content_type: str | None
    stream_seq: str | None
    producer: Stamp | None
    close: bool
    is_multi: bool

    def is_of(self, seq: str | None, stream_seq: str | None) -> bool:
        """Return whether the head was parsed with the same ones of these fields."""
        return (self.producer is None) is (seq is None) and (self.stream_seq is None) is (
            stream_seq is None
        )

    def append(self, body: bytes, seq: str | None = None, stream_seq: str | None = None) -> Append:
        """Return the append of `body`, with these fields instead of the head's where given.

        Raises BadRequest.
        """
        producer = self.producer
        if seq is not None and producer is not None:
            producer = Stamp(producer.producer_id, producer.epoch, _count("Producer-Seq", seq))
        if not body:
            self._check_empty()
        elif self.content_type is None:
            raise BadRequest("Content-Type is missing: send the content type of the stream")
        return Append(
            body,
            self.content_type,
            self.stream_seq if stream_seq is None else stream_seq,
            producer,
            self.close,
            self.is_multi,
        )

    def _check_empty(self) -> None:
        if self.is_multi:
            raise BadRequest(NO_MESSAGE)
        if not self.close:
            raise BadRequest(
                "the body is empty: append at least one byte, or send Stream-Closed: true"
            )


class ForkRequest(msgspec.Struct, frozen=True):
    """The fork headers of a PUT (section 4.2). `source` is a raw path; no offset means the tail."""

    source: str
    offset: Offset | None
    sub_offset: int


class CreateRequest(msgspec.Struct, frozen=True):
    """PUT. `content_type` is None when the client named none; `records` are as in an append."""

    body: bytes
    content_type: str | None
    lifetime: Lifetime
    close: bool
    fork: ForkRequest | None
    records: Records | BadRequest | None = None


@lru_cache(maxsize=4096)
def parse_target(target: str) -> Read | HeadgateError:
    """Parse a GET's canonical target as a read; return the error if it is not one.

    Equal reads have an equal `target`: its known keys, sorted, with the offset always there.

    Results are cached, since a thousand viewers of a stream send the same few targets.
    """
    try:
        return _parse_target(target)
    except HeadgateError as error:
        return error.with_traceback(None)


def _parse_target(target: str) -> Read:
    path, _, raw_query = target.partition("?")
    query = parse_query(raw_query)
    live = query.get("live")
    if live is not None and live not in MODES:
        raise BadRequest("live must be long-poll or sse")
    view = parse_view(query)
    begin = query.get("offset")
    if begin is not None and view.is_rendered:
        begin = begin.removesuffix(END_MARK)
    offset = _read_offset(begin, is_live=live is not None and not view.is_rendered)
    start = f"offset={offsets.BEGINNING if begin is None else begin}"
    last = query.get(LAST_EVENT_ID, "")
    if view.is_rendered:
        target = f"{path}?{start}&view={view.name}"
        return Events(path, target, offset, None, view=view, last_event_id=last)
    if live is None:
        return CatchUp(path, f"{path}?{start}", offset)
    cursor = parse_cursor(query.get("cursor", ""))
    echoed = "" if cursor is None else f"cursor={cursor}&"
    target = f"{path}?{echoed}live={live}&{start}"
    return MODES[live](path, target, offset, cursor, last_event_id=last)


def with_last_event_id(read: Events, headers: Mapping[str, str]) -> Events:
    """Return the read with the header's Last-Event-ID, if there is one, instead of the query's.

    Polyfills of EventSource repeat the last id in the query, beside the offset that they began at.
    """
    header = headers.get("Last-Event-ID")
    return msgspec.structs.replace(read, last_event_id=header) if header else read


def resumed(read: Events, headers: Mapping[str, str]) -> Events:
    """Return the read from the point where a browser's EventSource lost its connection."""
    read = with_last_event_id(read, headers)
    last = read.last_event_id
    if not last:
        return read
    if last == offsets.BEGINNING:  # a client that has no event yet, in place of no header
        return msgspec.structs.replace(read, offset=None, last_event_id="")
    if read.view.is_rendered:
        last = last.removesuffix(END_MARK)
    return msgspec.structs.replace(read, offset=parse_offset(last, "Last-Event-ID"))


def _read_offset(text: str | None, *, is_live: bool) -> Offset | str | None:
    if text is None:
        if is_live:
            raise BadRequest("offset is missing: a live read must say where to begin")
        return None
    if text == offsets.BEGINNING:
        return None
    return text if text == offsets.NOW else parse_offset(text, "offset")


def parse_append_head(headers: Mapping[str, str]) -> AppendHead:
    """Parse the header fields of a POST: an append, a close, or both."""
    stream_seq = _text(headers, "Stream-Seq")
    if stream_seq is not None and len(stream_seq) > MAX_STREAM_SEQ:
        raise BadRequest(f"Stream-Seq is over {MAX_STREAM_SEQ} characters")
    return AppendHead(
        _text(headers, "Content-Type"),
        stream_seq,
        _parse_producer(headers),
        is_closing(headers),
        is_multi(headers),
    )


def _text(headers: Mapping[str, str], name: str) -> str | None:
    """Return an ASCII header; values that are stored and compared must be so. Raises BadRequest."""
    value = headers.get(name)
    if value is not None and not value.isascii():
        raise BadRequest(f"{name} must be ASCII text")
    return value


def is_closing(headers: Mapping[str, str]) -> bool:
    """Return whether the header closes: `true` in any case; else it counts as absent (4.1)."""
    return headers.get(CLOSED, "").lower() == "true"


def _parse_producer(headers: Mapping[str, str]) -> Stamp | None:
    producer_id = _text(headers, "Producer-Id")
    epoch = headers.get("Producer-Epoch")
    seq = headers.get("Producer-Seq")
    if producer_id is None and epoch is None and seq is None:
        return None
    if producer_id is None or epoch is None or seq is None:
        raise BadRequest("Producer-Id, Producer-Epoch and Producer-Seq must be sent together")
    if not producer_id or len(producer_id) > MAX_PRODUCER_ID:
        raise BadRequest(f"Producer-Id must have 1 to {MAX_PRODUCER_ID} characters")
    return Stamp(producer_id, _count("Producer-Epoch", epoch), _count("Producer-Seq", seq))


def _count(name: str, text: str) -> int:
    if _DIGITS.fullmatch(text) is None or int(text) > MAX_INTEGER:
        raise BadRequest(f"{name} must be a whole number from 0 to 2^53-1")
    return int(text)


def parse_create(headers: Mapping[str, str], body: bytes) -> CreateRequest:
    """Parse a PUT as a creation, plain or by fork."""
    if MULTI in headers:
        raise BadRequest(f"{MULTI} is for POST: create the stream without it")
    content_type = _text(headers, "Content-Type")
    fork = _parse_fork(headers)
    if content_type is not None:
        check_content_type(content_type)
    elif fork is None:
        content_type = DEFAULT_CONTENT_TYPE
    return CreateRequest(body, content_type, parse_lifetime(headers), is_closing(headers), fork)


def parse_lifetime(headers: Mapping[str, str]) -> Lifetime:
    """Parse the lifetime of a stream in the headers of a PUT."""
    ttl = headers.get("Stream-TTL")
    expires = headers.get("Stream-Expires-At")
    if ttl is not None and expires is not None:
        raise BadRequest("Stream-TTL and Stream-Expires-At exclude each other: send one")
    if ttl is not None:
        if _INTEGER.fullmatch(ttl) is None:
            raise BadRequest("Stream-TTL must be a whole number of seconds, without leading zeros")
        if len(ttl) > 11 or int(ttl) > MAX_TTL_S:
            raise BadRequest(f"Stream-TTL is at most {MAX_TTL_S} seconds; leave it out for no end")
        return Lifetime(ttl_s=int(ttl))
    if expires is not None:
        return _expiry(expires)
    return Lifetime()


def _expiry(text: str) -> Lifetime:
    """Parse a timestamp. Its text is cut to nanoseconds, as each append stores it again."""
    problem = "Stream-Expires-At must be an RFC 3339 timestamp such as 2030-01-31T12:00:00Z"
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise BadRequest(problem)
    text = match[1] + match[2]
    try:
        expires_at = datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadRequest(problem) from error
    return Lifetime(expires_at=expires_at, expires_text=text)


def _parse_fork(headers: Mapping[str, str]) -> ForkRequest | None:
    source = _text(headers, FORKED_FROM)
    offset = headers.get("Stream-Fork-Offset")
    sub_offset = headers.get("Stream-Fork-Sub-Offset")
    if source is None:
        for name in ("Stream-Fork-Offset", "Stream-Fork-Sub-Offset"):
            if name in headers:
                raise BadRequest(f"{name} needs Stream-Forked-From")
        return None
    if sub_offset is not None and (_INTEGER.fullmatch(sub_offset) is None or len(sub_offset) > 16):
        raise BadRequest("Stream-Fork-Sub-Offset must be a whole number, without leading zeros")
    position = None
    if offset == offsets.BEGINNING:
        position = Offset(-1, 0)
    elif offset is not None:
        position = parse_offset(offset, "Stream-Fork-Offset")
    return ForkRequest(source, position, int(sub_offset or 0))
