"""Requests whose fields came before, byte for byte: what was parsed from them is looked up.

Clients say the same fields again and again, and only their targets and bodies differ: to look a
block of fields up takes 1 us, to parse it 12. Only what is plainly one whole request is looked at
here, and only a block that aiohttp's parser has let through, of a request that was one whole
message, is remembered: so it means what it meant then.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage
    from multidict import CIMultiDictProxy

REMEMBERED = 1024  # blocks: with what was parsed from them 4 MB; then all are forgotten
LONGEST = 1024  # bytes of one: browsers send about 700

# A target is as a URL is written: what else the parser lets through, it is given.
_LINE = re.compile(rb"(GET|POST) (/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*) HTTP/1\.1\r\n")
_LONGEST_LINE = 4096  # as the parser would have it, or less
# What may be sent before the answer to it is known, or changes how a body is framed.
_UNLIKE = ("Transfer-Encoding", "Expect", "Upgrade")
# Another one each time: to remember the block would push out those that come again.
_SELDOM_TWICE = ("Traceparent", "Producer-Seq", "X-Request-Id", "If-None-Match")


class _Block(NamedTuple):
    headers: CIMultiDictProxy[str]
    length: int  # of the body


class KnownRequest(NamedTuple):
    """A request as a RawRequestMessage has it; its headers are shared by all that have the same."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]

    @property
    def should_close(self) -> bool:
        """Never: what ends a connection is not remembered."""
        return False


class SentAhead(NamedTuple):
    """An append among others: its body, and where it ends in what has come."""

    request: KnownRequest
    body: bytes
    end: int


class RequestBlocks:
    """Those of all connections of a process."""

    def __init__(self) -> None:
        self._blocks: dict[bytes, _Block] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    def read(self, data: bytes) -> tuple[KnownRequest, bytes] | None:
        """The request that these bytes are, and its body."""
        line = _LINE.match(data)
        if line is None or line.end() > _LONGEST_LINE:
            return None
        begin = line.end()
        end = data.find(b"\r\n\r\n", begin)
        block = self._blocks.get(data[begin:end])
        if block is None or len(data) != end + 4 + block.length:
            return None
        method, path = line.groups()
        return KnownRequest(method.decode(), path.decode(), block.headers), data[end + 4 :]

    def appends(self, data: bytes, most: int) -> list[SentAhead]:
        """The whole appends to one stream that these bytes begin with.

        What is behind one whose fields did not come before is left.
        """
        found: list[SentAhead] = []
        at = 0
        while len(found) < most:
            line = _LINE.match(data, at)
            if line is None or line.end() - at > _LONGEST_LINE or line[1] != b"POST":
                break
            begin = line.end()
            end = data.find(b"\r\n\r\n", begin, begin + LONGEST + 4)
            block = self._blocks.get(data[begin:end])
            path = line[2].decode()
            if block is None or (found and path != found[0].request.path):
                break
            at = end + 4 + block.length
            if at > len(data):
                break
            request = KnownRequest("POST", path, block.headers)
            found.append(SentAhead(request, data[end + 4 : at], at))
        return found

    def remember(self, data: bytes, message: RawRequestMessage, size: int) -> None:
        """Keep what was parsed from a whole request, its body of so many bytes included.

        Whoever calls has made sure that no reader is known by it, and that its host is served.
        """
        line = _LINE.match(data)
        if line is None or message.should_close or message.chunked or message.upgrade:
            return
        begin, end = line.end(), data.find(b"\r\n\r\n")
        headers = message.headers
        if not 0 < end - begin <= LONGEST or len(data) != end + 4 + size:
            return
        if any(name in headers for name in (*_UNLIKE, *_SELDOM_TWICE)):
            return
        if len(self._blocks) >= REMEMBERED:
            self._blocks.clear()
        self._blocks[data[begin:end]] = _Block(headers, size)
