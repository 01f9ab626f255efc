"""HTTP/1.1 as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.protocol import http1


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6))
def test_unframing_chunks_returns_their_data(datas: list[bytes]) -> None:
    assert http1.unframe(b"".join(map(http1.chunk, datas))) == b"".join(datas)


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=300))
def test_a_chunk_serialized_in_parts_equals_the_whole_chunk(shared: bytes, own: bytes) -> None:
    assert b"".join(http1.chunk_parts(shared, own)) == http1.chunk(shared + own)
