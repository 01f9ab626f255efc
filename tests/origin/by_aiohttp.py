"""What aiohttp's parser makes of an answer: what everything else is compared with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser

from gateway.origin.response import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

FRAMING = frozenset({"content-length", "transfer-encoding"})


class Parsed(NamedTuple):
    """A whole answer; `fields` are those that do not say how long it is."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes


def parsed(data: bytes) -> Parsed | None:
    """The one answer that these bytes are; None where they are less, or more, or none."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpResponseParser(
            *(BaseProtocol(loop), loop, 1 << 16),
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            read_until_eof=True,
            auto_decompress=False,
        )
        try:
            messages, _, tail = parser.feed_data(data)
        except HttpProcessingError:
            return None
        if len(messages) != 1 or tail:
            return None
        ((head, payload),) = messages
        if payload.exception() is not None or not payload.is_eof():
            return None
        return Parsed(head.code, unframed(head.headers.items()), payload.read_nowait(-1))
    finally:
        loop.close()


def unframed(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields that do not say how long an answer is, names in lower case.

    aiohttp spells the names that it knows its own way.
    """
    return [(name.lower(), value) for name, value in fields if name.lower() not in FRAMING]
