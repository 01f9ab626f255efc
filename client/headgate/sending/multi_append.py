"""Many messages in one append, each behind its length, for servers that offer it.

A server that does not would take the lengths for data: one that does says so by `X-Stream-Multi`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH_BYTES = 4  # the most significant byte first


def encode(chunks: Sequence[bytes]) -> bytes:
    """Return the body of a multi-append; each chunk is not empty and shorter than 4 GiB."""
    framed: list[bytes] = []
    for chunk in chunks:
        framed += (len(chunk).to_bytes(LENGTH_BYTES, "big"), chunk)
    return b"".join(framed)
