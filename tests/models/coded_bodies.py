"""Coded bodies that cost much and decode to little, of each kind that a coding allows."""

from __future__ import annotations

import gzip
import struct
import sys
import zlib
from typing import TYPE_CHECKING

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

ASKED = b'{"model":"m","stream":true}'
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_GZIP_END = b"\3\0" + struct.pack("<II", zlib.crc32(ASKED), len(ASKED))
_STORED = b"\0" + struct.pack("<HH", len(ASKED), len(ASKED) ^ 0xFFFF) + ASKED
# Eight blocks of deflate that are empty and have tables of their own: decoding takes 4 us.
_TABLES = bytes.fromhex(
    "04c081000000000090ff6a24000e040000000080fc57230170200000000000e4bf1a098003010000000020ff"
    "d548001c080000000000f9af4602e0400000000000c87f35120007020000000040feab910038100000000000"
    "f25f8d"
)
_ZSTD_HEAD = b"\x28\xb5\x2f\xfd\0"
_EMPTY_FRAME = b"\x28\xb5\x2f\xfd\x20\0\1\0\0"
_SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip"
_LAST = b"\1\0\0"


def windowed(log: int, blocks: bytes = b"\x0b\0\0x") -> bytes:
    """Return a frame with a window of that size, and a byte if there are no other blocks."""
    return _ZSTD_HEAD + bytes([(log - 10) << 3]) + blocks


def _deflated(blocks: bytes) -> bytes:
    return _GZIP_HEAD + _STORED + blocks + _GZIP_END


# By name: the coding, what is before, what is repeated, and what is after.
_KINDS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "empty members": (
        "gzip",
        lambda size: gzip.compress(ASKED) + _times(gzip.compress(b"", mtime=0), size),
    ),
    "empty stored blocks": ("gzip", lambda size: _deflated(_times(b"\0\0\0\xff\xff", size))),
    "empty blocks with tables": ("gzip", lambda size: _deflated(_times(_TABLES, size))),
    "empty frames": ("zstd", lambda size: zstd.compress(ASKED) + _times(_EMPTY_FRAME, size)),
    "skippable frames": ("zstd", lambda size: zstd.compress(ASKED) + _times(_SKIPPABLE, size)),
    "frames with long windows": (
        "zstd",
        lambda size: zstd.compress(ASKED) + _times(windowed(23), size),
    ),
    "empty raw blocks": ("zstd", lambda size: _blocks(b"\0\0\0", size)),
    "empty repeated blocks": ("zstd", lambda size: _blocks(b"\2\0\0x", size)),
    "empty compressed blocks": ("zstd", lambda size: _blocks(b"\x14\0\0\0\0", size)),
}
KINDS = {name: coding for name, (coding, _) in _KINDS.items()}


def costly(kind: str, size: int) -> bytes:
    """Return a body of a kind with about so many bytes; most of them decode to ASKED."""
    return _KINDS[kind][1](size)


def _times(item: bytes, size: int) -> bytes:
    return item * (size // len(item))


def _blocks(block: bytes, size: int) -> bytes:
    text = struct.pack("<I", len(ASKED) << 3)[:3] + ASKED  # a raw block
    return windowed(10, text + _times(block, size) + _LAST)
