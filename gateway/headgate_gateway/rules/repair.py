"""Repairs of an origin's responses to reads: facts, tags and cache lines (section 10).

Origins differ: some send no Cache-Control, ETags without quotes or blind to closure, cursors that
differ for each reader, no CORS. The rules of caching (`headgate_gateway.rules`) and the followers
of streams (`headgate_gateway.edge`) use these functions to add what the protocol demands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import xxhash

from headgate_gateway.errors import OriginBehind
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.bodies.content import is_json
from headgate_gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET, UP_TO_DATE
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW, is_one_past, is_plain

if TYPE_CHECKING:
    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.protocol.requests import CatchUp

_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"')
_NO_TAG_CHARACTER = re.compile(r"[\x00-\x20\x22\x7f]")
LIFETIMES = ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Expires")
_CORS_FIELDS = (
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Expose-Headers",
)
_CLOSED_TAG = re.compile(r':c(losed)?"$')
_TAIL_TAG = re.compile(r':tail"$')
EMPTY_BYTES = 2  # a body that is longer holds data: `[]` is a JSON stream's empty one


class StreamRead(msgspec.Struct, frozen=True, gc=False):
    """The facts about a stream in the head of an origin's response to a read."""

    content_type: str
    next_offset: str
    up_to_date: bool
    closed: bool
    is_empty: bool
    is_coded: bool  # compressed

    @property
    def ends(self) -> bool:
        """True if the response reaches the tail: its end is the end of the stream so far."""
        return self.up_to_date or self.is_empty

    @property
    def reaches_open_tail(self) -> bool:
        """True if the response reaches the tail of an open stream: an append makes it stale."""
        return self.ends and not self.closed


def stream_read(status: int, headers: MultiMapping[str], body_prefix: bytes) -> StreamRead | None:
    """Return the facts in a response to a read; None if it is not the response of a stream.

    `body_prefix` is the beginning of the body, longer than EMPTY_BYTES if the body is.
    """
    next_offset = headers.get(NEXT_OFFSET)
    if status != 200 or next_offset is None or not is_plain(next_offset):
        return None
    return StreamRead(
        headers.get("Content-Type", ""),
        next_offset,
        is_true(headers, UP_TO_DATE),
        is_true(headers, CLOSED),
        is_nothing(headers.get("Content-Type", ""), body_prefix),
        headers.get("Content-Encoding", "identity").lower() != "identity",
    )


def check_end(start: object, end: str) -> None:
    """Raise OriginBehind when a stream ends before where it is read."""
    if isinstance(start, str) and start not in {BEGINNING, NOW} and end < start:
        raise OriginBehind("the origin tells of a stream that ends before this offset", end)


def at_same_offset(start: str, facts: StreamRead) -> StreamRead:
    """Return the facts with the reader's offset as the tail, if it is one past the origin's.

    The reader has computed that offset, and the origin treats it as its tail. No record ends after
    it yet, so the reader stays there: the offset may be the true end, and the origin a replica that
    lags by a byte, which would be read a second time.
    """
    if facts.is_empty and facts.up_to_date and is_one_past(start, facts.next_offset):
        return msgspec.structs.replace(facts, next_offset=start)
    return facts


def is_nothing(content_type: str, body_prefix: bytes) -> bool:
    """Return whether a read's body has no data."""
    return not body_prefix or (is_json(content_type) and body_prefix == b"[]")


def directive_lines(headers: MultiMapping[str], *, at_tail: bool = False) -> str:
    """Return the origin's lines on what caches may do with a response.

    A no-store alone does not count for a read `at_tail`, from `now` on: nobody caches that.
    """
    if not any(name in headers for name in LIFETIMES) or (at_tail and is_only_no_store(headers)):
        return ""
    names = (*LIFETIMES, "Vary")
    return "".join(f"{name}: {value}\r\n" for name in names for value in headers.getall(name, ()))


def varying(lines: str) -> str:
    """Return the `Vary` lines among the lines of `directive_lines`."""
    return "".join(line for line in lines.splitlines(keepends=True) if line.startswith("Vary: "))


def cors(headers: MultiMapping[str]) -> str:
    """Return the origin's CORS lines if they are the same for all pages.

    Lines that depend on the requesting page cannot be shared.
    """
    varies = ",".join(headers.getall("Vary", ())).lower().split(",")
    if _CORS_FIELDS[0] not in headers or {"origin", "*"} & {name.strip() for name in varies}:
        return ""
    return "".join(
        f"{name}: {value}\r\n" for name in _CORS_FIELDS for value in headers.getall(name, ())
    )


def is_private(lines: str) -> bool:
    """Return whether the lines of `directive_lines` forbid shared caches to store the response."""
    lines = lines.lower()
    return "private" in lines or "no-store" in lines


def data_tag(path: str, start: str, end: str, body: bytes) -> str:
    """Return the text of an ETag for data; its hash differs for two streams at one path."""
    stream, content = xxhash.xxh3_64_hexdigest(path.encode()), xxhash.xxh3_64_hexdigest(body)
    return f"{stream}:{start}:{end}:{content}"


def is_true(headers: MultiMapping[str], name: str) -> bool:
    """Return whether a boolean header of the protocol is true."""
    return headers.get(name, "").lower() == "true"


def forbid_caching_tail(fields: CIMultiDict[str]) -> None:
    """Add no-store to a response with the tail that answers no read, as to HEAD (section 5.5)."""
    if NEXT_OFFSET in fields and not any(name in fields for name in LIFETIMES):
        fields["Cache-Control"] = "no-store"


def forbid_caching_error(fields: CIMultiDict[str]) -> None:
    """Add no-store to an error whose origin does not say that it may be cached."""
    if not any(name in fields for name in (*LIFETIMES, "Last-Modified")):
        fields["Cache-Control"] = "no-store"


def forbid_caching(fields: CIMultiDict[str]) -> None:
    """Put no-store in the place of what the origin says about caching."""
    for name in LIFETIMES:
        fields.popall(name, None)
    fields["Cache-Control"] = "no-store"


def lacks_end(method: str, status: int, headers: MultiMapping[str]) -> bool:
    """Return whether a response reports a duplicate append without the stream's end.

    The table in section 5.2.1 does not demand it, and the reference server leaves it out; some
    clients go on from there, as after any other append.
    """
    is_repeat = method == "POST" and status == 204 and "Producer-Seq" in headers
    return is_repeat and not headers.get(NEXT_OFFSET)


def is_only_no_store(fields: MultiMapping[str]) -> bool:
    """Return whether Cache-Control has no-store but not private, which must stay."""
    directives = ",".join(fields.getall("Cache-Control", ())).lower()
    return "no-store" in directives and "private" not in directives


def is_brief(read: CatchUp, facts: StreamRead) -> bool:
    """Return whether an append, or a new stream at the path, would make the response stale."""
    return facts.reaches_open_tail or not read.is_fixed


def untailed(text: str) -> str:
    """Return a tag, or header lines with one, without the mark `:tail`."""
    return _TAIL_TAG.sub('"', text)


def repaired_tag(tag: str, facts: StreamRead) -> str:
    """Return a well-formed tag that differs at the end of a stream."""
    if _TAG.fullmatch(tag) is None:
        tag = f'"{_NO_TAG_CHARACTER.sub("", tag)}"'
    if tag.endswith(':tail"'):  # it may be of a copy that was at the tail
        if facts.up_to_date and not facts.closed:
            return tag
        tag = untailed(tag)
    if not (facts.closed and _CLOSED_TAG.search(tag)):
        tag = f'{tag[:-1]}{cache_headers.tag_mark(closed=facts.closed, at_tail=facts.up_to_date)}"'
    return tag
