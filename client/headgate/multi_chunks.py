"""The form of several chunks in one append: each after its length."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.names import not_text

LENGTH_BYTES = 4  # of a chunk's length, the most significant byte first


def encode_multi_chunks(chunks: Iterable[bytes | str]) -> bytes:
    """Return several chunks as the body of one append, a multi-append.

    Send it by POST with `X-Stream-Multi: true`, to a server that has sent this field in its
    response to a HEAD: any other stores the lengths as data. `StreamWriter` does all of this. A
    Headgate takes at most 4,096 chunks in a request.

    ```python
    body = headgate.encode_multi_chunks(["Once ", "upon ", b"a time"])
    ```

    Args:
        chunks: The chunks in their order: bytes, or str, which becomes UTF-8. Without any, the body
            is empty.

    Raises:
        TypeError: A chunk is neither, or `chunks` is one chunk.
        ValueError: A chunk is empty, or has half of a surrogate pair.
    """
    if isinstance(chunks, str | bytes | bytearray | memoryview) or not isinstance(chunks, Iterable):
        raise not_text(chunks, "encode_multi_chunks takes several chunks, such as a list")
    framed: list[bytes] = []
    for number, chunk in enumerate(chunks, 1):  # each shorter than 4 GiB
        data = chunk_bytes(chunk, "a multi-append")
        if not data:
            raise ValueError(f"chunk {number:,} is empty: each has at least a byte")
        framed += (len(data).to_bytes(LENGTH_BYTES, "big"), data)
    return b"".join(framed)


def chunk_bytes(chunk: object, taker: str) -> bytes:
    """Return the bytes of a chunk. Raises TypeError, which names the taker, or ValueError."""
    if isinstance(chunk, bytes | bytearray | memoryview):
        return bytes(chunk)
    if not isinstance(chunk, str):
        raise TypeError(f"{taker} takes bytes or str, not {type(chunk).__name__}")
    try:
        return chunk.encode()
    except UnicodeEncodeError as cause:
        raise ValueError(
            f"the chunk is no text: character {cause.start} is half of a surrogate pair"
        ) from cause
