"""HTTP/1.1 as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import http1
from gateway.protocol.responses import Response

COMMON = b"Date: today\r\n"


@pytest.mark.parametrize(
    ("response", "wire"),
    [
        pytest.param(
            Response(200, "A: b\r\n", b"body"),
            b"HTTP/1.1 200 OK\r\nDate: today\r\nA: b\r\nContent-Length: 4\r\n\r\nbody",
            id="a-200-with-a-body",
        ),
        pytest.param(
            Response(200, ""),
            b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 0\r\n\r\n",
            id="a-200-without-a-body",
        ),
        pytest.param(
            Response(204, "A: b\r\n"),
            b"HTTP/1.1 204 No Content\r\nDate: today\r\nA: b\r\n\r\n",
            id="a-204",
        ),
        pytest.param(
            Response(304, "A: b\r\n"),
            b"HTTP/1.1 304 Not Modified\r\nDate: today\r\nA: b\r\n\r\n",
            id="a-304",
        ),
        pytest.param(
            Response(410, "A: b\r\n", b"gone"),
            b"HTTP/1.1 410 Gone\r\nDate: today\r\nA: b\r\nContent-Length: 4\r\n\r\ngone",
            id="a-410-with-a-body",
        ),
    ],
)
def test_a_response_has_a_content_length_if_its_status_allows_a_body(
    response: Response, wire: bytes
) -> None:
    assert http1.serialize(response, COMMON) == wire
    assert (
        http1.status_line(response.status) + COMMON + http1.own_lines(response) + response.body
        == wire
    )


def test_a_response_to_head_has_neither_body_nor_length() -> None:
    assert http1.lines_for_head(Response(200, "A: b\r\n", b"body")) == b"A: b\r\n\r\n"


@pytest.mark.parametrize(
    ("chunked", "framing"),
    [
        pytest.param(True, b"Transfer-Encoding: chunked\r\n", id="chunked"),
        pytest.param(False, b"Connection: close\r\n", id="not-chunked"),
    ],
)
def test_only_a_stream_response_without_chunks_closes_its_connection(
    chunked: bool, framing: bytes
) -> None:
    """Clients take a cut for the proper end of an answer that says `Connection: close`."""
    wire = http1.stream_head(Response(200, "A: b\r\n"), COMMON, chunked=chunked)
    assert wire == b"HTTP/1.1 200 OK\r\nDate: today\r\nA: b\r\n" + framing + b"\r\n"


def test_a_chunk_is_its_size_in_hexadecimal_and_its_data() -> None:
    assert http1.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert http1.LAST_CHUNK == b"0\r\n\r\n"


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6))
def test_unframing_chunks_returns_their_data(datas: list[bytes]) -> None:
    assert http1.unframe(b"".join(map(http1.chunk, datas))) == b"".join(datas)


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=300))
def test_a_chunk_serialized_in_parts_equals_the_whole_chunk(shared: bytes, own: bytes) -> None:
    assert b"".join(http1.chunk_parts(shared, own)) == http1.chunk(shared + own)
