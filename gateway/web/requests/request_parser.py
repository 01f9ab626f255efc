"""Make aiohttp's request parser, and check that the installed version works as expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.web import RequestPayloadError

from gateway.errors import StartError

if TYPE_CHECKING:
    import asyncio

BODY_BUFFER_BYTES = 256 * 1024  # of a body; at twice as much, reading is paused
MOST_HEADER_LINES = 128
LONGEST_LINE = 8190  # bytes of the request line, and of a header line
_SAMPLE = b"POST /s?a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"


def request_parser(protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    """Return a parser for the requests of one connection."""
    return HttpRequestParser(
        protocol,
        loop,
        BODY_BUFFER_BYTES,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
        max_headers=MOST_HEADER_LINES,
        payload_exception=RequestPayloadError,
        auto_decompress=False,
        # A parser that returns several requests at a time loses them all if the next is malformed.
        max_msg_queue_size=1,
    )


def check_parser(loop: asyncio.AbstractEventLoop) -> None:
    """Parse a sample. Raises StartError if aiohttp's parser behaves differently."""
    protocol = BaseProtocol(loop)
    try:
        protocol._parser = parser = request_parser(protocol, loop)
        messages, is_upgraded, rest = parser.feed_data(_SAMPLE)
        parser.message_consumed()
        ((message, body),) = messages
        parsed = (message.method, message.path, message.headers["Host"], body.read_nowait())
        flags = (message.should_close, message.upgrade, message.chunked, is_upgraded, bool(rest))
        is_known = parsed == ("POST", "/s?a", "a", b"ab") and body.is_eof() and not any(flags)
    except (AttributeError, LookupError, TypeError, ValueError):
        is_known = False
    if not is_known:
        raise StartError(
            f"aiohttp {aiohttp.__version__} parses requests in another way than this version of"
            " Headgate knows: install the aiohttp that requirements/run.txt names"
        )
