"""Each configuration passes on where a stream begins, also in its copies and in a 304."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import CANDIDATES

if TYPE_CHECKING:
    from tests.cdn.edges import Edge

FIELD = "headgate-start-offset"


@pytest.mark.parametrize("edge", CANDIDATES, indirect=True, ids=str)
async def test_a_read_from_the_beginning_names_the_offset_there_behind_each_configuration(
    edge: Edge,
) -> None:
    stream = edge.stream(b"one")
    stream.append(b"two", Stream_Closed="true")
    target = f"{stream.path}?offset=-1"
    start = edge.at_origin(target).headers[FIELD]
    answers = [edge.ask("GET", target) for _ in range(3)]
    assert [(it.body, it.headers.get(FIELD)) for it in answers] == [(b"onetwo", start)] * 3
    unchanged = edge.ask("GET", target, If_None_Match=answers[-1].headers["etag"])
    assert unchanged.status in {200, 304}
    assert unchanged.headers.get(FIELD) == start
    other = edge.ask("GET", f"{stream.path}?offset={start}")
    assert (other.body, FIELD in other.headers) == (b"onetwo", False)
