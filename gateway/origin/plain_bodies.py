"""The bodies of plain responses, assembled while they arrive.

Servers in Node chunk each response without a known length, mostly in one chunk. To parse that here
takes 2 us, and saves a task. Chunks with extensions or trailers, or that are not obviously
well-formed, are left to aiohttp's parser.
"""

from __future__ import annotations

import re

GATHERED_BYTES = 1 << 20  # of a body that is taken whole; what is longer is relayed in parts
# A server that writes as it goes sends some; for many small ones the parser, in C, is faster.
MOST_CHUNKS = 256

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,8}\r?\Z")
_END = b"\r\n"


class ByLength:
    """A body with a Content-Length. It is `whole` once all bytes have come."""

    __slots__ = ("_missing", "_parts", "whole")

    def __init__(self, size: int) -> None:
        self.whole: bytes | None = None
        self._parts: list[bytes] = []
        self._missing = size

    def feed(self, data: bytes, at: int = 0) -> bool:
        """Take what has come, from a place in it; False where that is more than there should be."""
        part = data[at:]
        self._parts.append(part)
        self._missing -= len(part)
        if not self._missing:
            self.whole = b"".join(self._parts)
        return self._missing >= 0


class InChunks:
    """A body that comes in plain chunks (RFC 9112, section 7.1). It is `whole`, or not yet."""

    __slots__ = ("_missing", "_parts", "_rest", "_size", "whole")

    def __init__(self) -> None:
        self.whole: bytes | None = None
        self._parts: list[bytes] = []
        self._size = 0  # of them
        self._rest: list[bytes] = []  # what has come of a chunk that is not here
        self._missing = 0  # bytes, at least, until that can be looked at

    def feed(self, data: bytes, at: int = 0) -> bool:
        """Take bytes as ByLength does; return False also for chunks not plain, too many or too big.

        Then nothing more is to be taken.
        """
        if self._rest:
            self._rest.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return True
            data, at = b"".join(self._rest), 0
        while (line := _SIZE.match(data, at)) is not None:
            size = int(line[1], 16)
            data_start = line.end()
            ends = data_start + size
            if not size:
                return self._end(data, at, data_start)
            self._size += size
            if self._size > GATHERED_BYTES or len(self._parts) == MOST_CHUNKS:
                return False
            if ends + len(_END) > len(data):
                self._size -= size
                return self._wait(data, at, ends + len(_END))
            if not data.startswith(_END, ends):
                return False
            self._parts.append(data[data_start:ends])
            at = ends + len(_END)
        return _SIZE_BEGUN.match(data, at) is not None and self._wait(data, at, len(data) + 1)

    def _end(self, data: bytes, at: int, data_start: int) -> bool:
        """Return whether the rest is the end, or its beginning: no trailers, no other response."""
        rest = data[data_start:]
        if rest == _END:
            self.whole = b"".join(self._parts)
            return True
        return _END.startswith(rest) and self._wait(data, at, data_start + len(_END))

    def _wait(self, data: bytes, at: int, until: int) -> bool:
        self._rest = [data[at:]]
        self._missing = until - len(data)
        return True
