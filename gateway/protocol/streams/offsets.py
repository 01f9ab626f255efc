"""Offsets: opaque, sortable positions, written `generation_position` (PROTOCOL.md section 8)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from gateway.errors import BadRequest

BEGINNING = "-1"
NOW = "now"
MAX_POSITION = 10**16 - 1

_OFFSET = re.compile(r"([0-9]{16})_([0-9]{16})")


# What any origin's offsets may look like, to stand in an event, in a tag and in a header alike.
_PLAIN = re.compile(r'[^\x00-\x20"&,/=?\\\x7f-\U0010ffff]{1,256}')


def is_plain(offset: str) -> bool:
    """Return whether an offset of another server can be used as it is."""
    return _PLAIN.fullmatch(offset) is not None


_COUNTED = re.compile(r"([0-9]+_)([0-9]+)")


def is_one_past(offset: str, end: str) -> bool:
    """Return whether an offset is an end plus one, which some clients compute and request.

    They do so with offsets of two numbers only, of which the second counts bytes: if it counted
    appends, one more would skip a whole append.
    """
    offset_parts, end_parts = _COUNTED.fullmatch(offset), _COUNTED.fullmatch(end)
    if (
        offset_parts is None
        or end_parts is None
        or len(offset) != len(end)
        or offset_parts[1] != end_parts[1]
    ):
        return False
    return int(offset_parts[2]) == int(end_parts[2]) + 1


class Offset(NamedTuple):
    """`position` counts the stream's own bytes; `generation` grows when a path is re-created."""

    generation: int
    position: int


@lru_cache(1024)  # the tails of a thousand busy streams, told to many readers each: 0.3 MB
def format_offset(generation: int, position: int) -> str:
    """Format an offset; texts sort as positions do."""
    return f"{generation:016d}_{position:016d}"


def parse_offset(text: str, parameter: str) -> Offset:
    """Parse an offset of Headgate's own, not a sentinel; `parameter` names it in errors."""
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise BadRequest(
            f"{parameter} is malformed: give back a Stream-Next-Offset value unchanged"
        )
    return Offset(int(match[1]), int(match[2]))
