"""A GET below an HTTP origin as a read, and the target of the request to the origin.

Its offset is the origin's, which only sorts and compares.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import (
    MAX_PATH_BYTES,
    PLAIN,
    canonical_query,
    canonical_target,
    split,
)
from headgate_gateway.protocol.requests import (
    LAST_EVENT_ID,
    MODES,
    CatchUp,
    Events,
    Live,
    Read,
    with_last_event_id,
)
from headgate_gateway.protocol.streams.offsets import BEGINNING, is_plain, parse_cursor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OURS = frozenset({"offset", "live", "cursor"})
# Values with `+` or percent-encoding take the slow path.
_VALUE = r"[A-Za-z0-9._~!$'()*,;=:@/?-]+"
_OTHER = rf"(?!{'|'.join(sorted(_OURS))}){_VALUE}"
_PLAIN_TARGET = re.compile(rf"({PLAIN.pattern})\?((?:{_OTHER}&)*offset=({_VALUE})(?:&{_OTHER})*)")


def catch_up(read: Read, offset: str) -> CatchUp:
    """Return the catch-up read of the same resource from an offset, without the reader's fields."""
    start = None if offset == BEGINNING else offset
    target = _target(read, f"offset={_in_query(offset)}")
    return CatchUp(read.path, target, start, others=read.others)


def start_of(read: Read) -> str:
    """Return the offset at which a read starts."""
    return read.offset if isinstance(read.offset, str) else BEGINNING


def poll_target(read: Read, offset: str, cursor: str | None) -> str:
    """Return the target of a long-poll at an offset. The cursor is the origin's own."""
    own = [f"cursor={_in_query(cursor)}"] if cursor is not None else []
    return _target(read, *own, "live=long-poll", f"offset={_in_query(offset)}")


def _target(read: Read, *own: str) -> str:
    parts = sorted((*read.others, *own), key=_key)
    return f"{read.path}?{'&'.join(parts)}"


def parse_edge_target(target: str, drop: Sequence[str]) -> Read:
    """Parse a target as a read; it is live only if the origin must interpret it so."""
    path, raw_query = split(canonical_target(target))
    query, values = canonical_query(raw_query, drop)
    parts = query.split("&") if query else []
    own: list[str] = []
    foreign: list[str] = []
    for part in parts:
        (own if part.partition("=")[0] in _OURS else foreign).append(part)
    offset = values.get("offset")
    target = f"{path}?{query}" if query else path
    start = None if offset is None or offset == BEGINNING else _decoded(offset)
    others = tuple(foreign)
    mode = MODES.get(values.get("live", ""))
    # Of repeated keys either could count, and a plus is a space to some.
    is_clear = len(own) == len(_OURS & values.keys()) and "+" not in (offset or "")
    if mode and offset and is_clear:
        cursor = parse_cursor(values.get("cursor", ""))
        last = ""
        if mode is Events and LAST_EVENT_ID in values:  # it is of one reader
            last = _decoded(values[LAST_EVENT_ID])
            others = tuple(part for part in foreign if _key(part) != LAST_EVENT_ID)
        return mode(path, target, start, cursor, others=others, last_event_id=last)
    cursor_text = values.get("cursor", "0")
    is_clear &= "live" not in values and offset != "" and cursor_text.isdecimal()
    others = others if is_clear else tuple(parts)
    return CatchUp(path, target, start, others=others, is_clear=is_clear)


def plain_catch_up(target: str) -> CatchUp | None:
    """Parse a target with an offset in its usual form; None for any other.

    The result is that of `parse_edge_target` if it drops no parameter. Most targets are like this.
    """
    match = _PLAIN_TARGET.fullmatch(target)
    if match is None:
        return None
    path, query, start = match.groups()
    if len(path) > MAX_PATH_BYTES:
        return None
    others: tuple[str, ...] = ()
    if "&" in query:
        parts = query.split("&")
        parts.sort(key=_key)
        target = f"{path}?{'&'.join(parts)}"
        parts.remove(f"offset={start}")
        others = tuple(parts)
    return CatchUp(path, target, None if start == BEGINNING else start, others=others)


def _key(part: str) -> str:
    return part.partition("=")[0]


def _decoded(text: str) -> str:
    return unquote(text, errors="surrogateescape") if "%" in text else text


def _in_query(text: str) -> str:
    return quote(text, safe="!'()*:~", errors="surrogateescape")


def resumed(read: Live, headers: Mapping[str, str]) -> Live:
    """Return the read from the point where a browser's EventSource lost its connection."""
    if not isinstance(read, Events):
        return read
    read = with_last_event_id(read, headers)
    last = read.last_event_id
    if not last:
        return read
    if last == BEGINNING:  # a client that has no event yet, in place of no header
        return msgspec.structs.replace(read, offset=None, last_event_id="")
    if not is_plain(last):
        raise BadRequest("Last-Event-ID is malformed: give back an id that came with an event")
    return msgspec.structs.replace(read, offset=last)
