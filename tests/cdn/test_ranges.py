"""A tail is answered whole behind every configuration, whatever range a client asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import CANDIDATES

if TYPE_CHECKING:
    from tests.cdn.edges import Edge

DATA = b"0123456789"


@pytest.mark.parametrize("edge", CANDIDATES, indirect=True, ids=str)
@pytest.mark.parametrize("asked", ["bytes=0-3", "bytes=-4", "bytes=1000-"])
async def test_a_range_request_for_a_tail_gets_the_whole_tail(edge: Edge, asked: str) -> None:
    target = f"{edge.stream(DATA).path}?offset=-1"
    for _ in range(2):
        answer = edge.ask("GET", target, Range=asked)
        assert (answer.status, answer.body) == (200, DATA)
