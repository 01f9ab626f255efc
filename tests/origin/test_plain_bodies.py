"""Bodies that are put together without a parser: the same as by aiohttp's, or none."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.origin.plain_bodies import GATHERED_BYTES, MOST_CHUNKS, ByLength, InChunks
from tests.origin import by_aiohttp
from tests.support.examples import IS_WHOLE, examples

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
# Where a few bytes are cut out, or put in, most of what is wrong with chunks is among it.
ODD = [b"", b"0", b"a", b"F", b"-", b"+", b" ", b"\t", b"\r", b"\n", b"\r\n", b";a=b", b"0x", LAST]
CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
FORMS = [b"%x", b"%X", b"0%x", b"0000%X"]


def framed(chunks: list[bytes], forms: list[bytes]) -> bytes:
    """Chunks as they are written; their sizes take turns in how."""
    parts = [
        forms[number % len(forms)] % len(chunk) + b"\r\n" + chunk + b"\r\n"
        for number, chunk in enumerate(chunks)
    ]
    return b"".join([*parts, LAST])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same in pieces, none of them empty."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(at)]


def taken(pieces: list[bytes]) -> tuple[bool, bytes | None]:
    """Whether all of a body was plain, and what it is once it is whole."""
    body = InChunks()
    for number, piece in enumerate(pieces):
        before = b"head" if number == 0 else b""
        if not body.feed(before + piece, len(before)):
            return False, None
        if body.whole is not None:
            is_all = number == len(pieces) - 1
            return is_all, body.whole if is_all else None
    return True, None


def parsed(data: bytes) -> bytes | None:
    """What aiohttp makes of it."""
    answer = by_aiohttp.parsed(HEAD + data)
    return None if answer is None else answer.body


@settings(max_examples=400 if IS_WHOLE else 50)
@given(CHUNKS, st.permutations(FORMS), st.lists(st.integers(0, 300), max_size=6))
def test_chunks_are_decoded_however_they_are_split(
    chunks: list[bytes], forms: list[bytes], places: list[int]
) -> None:
    data = framed(chunks, forms)
    assert taken(cut(data, places)) == (True, b"".join(chunks))
    assert taken([bytes([byte]) for byte in data]) == (True, b"".join(chunks))
    assert parsed(data) == b"".join(chunks)


@settings(max_examples=examples(1500))
@example([b"abc"], [(6, 2, b"xx")], [])  # what is no CRLF behind a chunk
@given(
    CHUNKS,
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 3), st.sampled_from(ODD)),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.integers(0, 300), max_size=4),
)
def test_a_malformed_chunked_body_is_decoded_only_as_the_parser_does(
    chunks: list[bytes], changes: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    data = framed(chunks, [b"%x"])
    for place, size, instead in changes:
        at = place % (len(data) + 1)
        data = data[:at] + instead + data[at + size :]
    _, whole = taken(cut(data, places))
    if whole is not None:
        assert parsed(data) == whole
    else:
        assert parsed(data) is None or not is_plain(data)


def is_plain(data: bytes) -> bool:
    """Whether chunks have neither extensions, nor trailers, nor blanks, nor LF alone."""
    return taken([data]) != (False, None)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_gathered_body_is_bounded_in_bytes_and_chunks(more: int) -> None:
    size = GATHERED_BYTES + more
    chunks = [bytes(size // 2), bytes(size - size // 2)]
    assert taken([framed(chunks, [b"%x"])]) == (more <= 0, bytes(size) if more <= 0 else None)
    assert taken([b"%x\r\n" % size]) == (more <= 0, None), "before it has come"
    chunks = [b"x"] * (MOST_CHUNKS + more)
    whole = b"".join(chunks) if more <= 0 else None
    assert taken([framed(chunks, [b"%x"])]) == (more <= 0, whole)


def test_a_long_chunk_that_comes_in_pieces_is_joined_once_at_its_end() -> None:
    body = InChunks()
    assert body.feed(b"%x\r\n" % GATHERED_BYTES)
    for _ in range(GATHERED_BYTES // 1024):
        assert body.feed(bytes(1024))
        assert len(body._rest) > 1
    assert body.feed(b"\r\n" + LAST)
    assert body.whole == bytes(GATHERED_BYTES)


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=4), st.booleans())
def test_a_body_with_a_length_is_complete_when_all_its_bytes_arrived(
    data: bytes, places: list[int], is_more: bool
) -> None:
    body = ByLength(len(data))
    pieces = cut(data, places) or [b""]
    if is_more:
        pieces[-1] += b"x"
    assert [body.feed(piece) for piece in pieces][-1] != is_more
    assert body.whole == (None if is_more else data)
