"""Content codings of requests (RFC 9110 section 8.4.1): a body is decoded step by step."""

from __future__ import annotations

import sys
import zlib
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import brotli
from aiohttp.compression_utils import BrotliDecompressor, ZLibDecompressor, ZSTDDecompressor

from gateway.errors import BadRequest, CodingNotSupported

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from aiohttp.compression_utils import DecompressionBaseHandler
    from multidict import MultiMapping

# What a step takes, and about what it gives: a millisecond, also of empty members of gzip. Brotli's
# first step takes ten times as long, for the memory of its window.
SLICE_BYTES = 4 << 10
STEP_BYTES = 64 << 10

_DECODERS: dict[str, Callable[[], DecompressionBaseHandler]] = {
    "gzip": partial(ZLibDecompressor, encoding="gzip"),
    "deflate": partial(ZLibDecompressor, encoding="deflate"),
    "br": BrotliDecompressor,
    "zstd": ZSTDDecompressor,
}
_SAME = {"x-gzip": "gzip"}  # RFC 9110 section 8.4.1.3
_TAKEN = ", ".join(_DECODERS)
_BROKEN = (zlib.error, brotli.error, ZstdError, ValueError, EOFError)


def codings_of(headers: MultiMapping[str]) -> list[str]:
    """Return the codings of a body, of which "identity" is none."""
    lines = headers.getall("Content-Encoding", ())
    names = (name.strip().lower() for line in lines for name in line.split(","))
    return [_SAME.get(name, name) for name in names if name not in {"", "identity"}]


def coding_of(headers: MultiMapping[str]) -> str | None:
    """Return the coding of a body; None if it has none. Raises CodingNotSupported."""
    codings = codings_of(headers)
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _DECODERS:
        sentence = f"send the body without Content-Encoding, or with one of {_TAKEN}"
        raise CodingNotSupported(sentence, _TAKEN)
    return codings[0]


def decoded(body: bytes, coding: str, count: Callable[[int], None]) -> Generator[None, None, bytes]:
    """Return a body without its coding; one that is cut gives what there is of it.

    `count` gets the number of bytes of each step before they are kept, and raises for too many.
    Raises BadRequest for other bytes than the coding's.
    """
    decoder, text = _DECODERS[coding](), BytesIO()
    for begin in range(0, len(body), SLICE_BYTES):
        part, is_done = body[begin : begin + SLICE_BYTES], False
        while not is_done:
            try:
                out = decoder.decompress_sync(part, STEP_BYTES)
            except _BROKEN as error:
                raise BadRequest(
                    f"the body is not {coding}, as its Content-Encoding says"
                ) from error
            count(len(out))
            text.write(out)
            yield
            part, is_done = b"", not decoder.data_available
    return text.getvalue()
