"""Targets whose form is seen at once mean what they are parsed as."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import MAX_PATH_BYTES
from headgate_gateway.rules.edge_target import parse_edge_target, plain_catch_up

PARTS = st.sampled_from(
    [
        *("?a=1", "&offset=", "&a=", "&a-b=2", "&live", "cursor=3", "&offset"),
        *"/?&=.-_~%+:;@,!*'()#",
        *("offset=", "offset=now", "live=sse", "live=", "-1", "a", "%41", "é"),
    ]
)


@given(st.lists(PARTS, max_size=8).map(lambda parts: "/v1/" + "".join(parts)))
@example("/v1/s?offset=a")
@example("/v1/s?offset=now")
@example("/v1/s?offset=-1")
@example("/v1/s/?offset=a")
@example("/v1//s?offset=a")
@example("/v1/../s?offset=a")
@example("/v1/s?offset=a&x=1")
@example("/v1/s?offset=a\n")
@example("/v1/s?offset=-1&run=1&n=000-000000001")
@example("/v1/s?a=1&a-b=2&a=0")
@example("/v1/s?a=1&&b=2")
@example("/v1/s?offset&offset=a")
@example("/v1/s?offset=&a=1")
def test_the_quick_parser_of_reads_agrees_with_the_full_one(target: str) -> None:
    read = plain_catch_up(target)
    try:
        assert read is None or read == parse_edge_target(target, ())
    except BadRequest:
        assert read is None


@pytest.mark.parametrize("offset", ["a", "now", "0000000000000001_0000000000000002"])
def test_usual_reads_are_parsed_by_the_quick_parser(offset: str) -> None:
    assert plain_catch_up(f"/v1/stream/a.b/c?offset={offset}") is not None
    assert plain_catch_up(f"/v1/stream/a.b/c?offset={offset}&from=here") is not None


@pytest.mark.parametrize("longer", [0, 1])
def test_a_path_over_the_limit_is_left_to_the_full_parser(longer: int) -> None:
    path = "/" + "a" * (MAX_PATH_BYTES - 1 + longer)
    assert (plain_catch_up(f"{path}?offset=a") is None) == bool(longer)
