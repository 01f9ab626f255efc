"""What caches may do with answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from headgate_gateway.protocol.cache_headers import (
    Freshness,
    chunk_lifetime,
    closed_lifetime,
    matches,
    poll_lifetime,
    poll_timeout,
    tail_lifetime,
)
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.responses import data
from headgate_gateway.protocol.streams.chunks import Chunk
from headgate_gateway.protocol.streams.state import StreamState

FRESHNESS = Freshness(chunk_max_age=60, stale_while_revalidate=300, tail_max_age=5)


@pytest.mark.parametrize(
    ("remaining", "age", "stale"),
    [
        (None, 60, 300),
        (361.0, 60, 300),
        (360.0, 60, 300),
        (359.0, 60, 299),
        (61.0, 60, 1),
        (60.0, 60, 0),
        (59.9, 59, 0),
        (0.0, 0, 0),
        (-7.0, 0, 0),
    ],
)
def test_a_chunk_does_not_outlast_its_stream(remaining: float | None, age: int, stale: int) -> None:
    line = chunk_lifetime(FRESHNESS, remaining)
    assert line == f"Cache-Control: public, max-age={age}, stale-while-revalidate={stale}\r\n"


@pytest.mark.parametrize(("remaining", "age"), [(None, 5), (6.0, 5), (4.2, 4), (1.0, 1)])
def test_only_shared_caches_store_the_tail_for_a_while(remaining: float | None, age: int) -> None:
    assert tail_lifetime(FRESHNESS, remaining) == (
        f"Cache-Control: no-cache, s-maxage={age}, stale-while-revalidate=0\r\n"
        f"CDN-Cache-Control: public, max-age={age}\r\n"
        f"Surrogate-Control: public, max-age={age}\r\n"
    )


PURGED = replace(FRESHNESS, chunk_max_age=86_400, purged_fields=("Surrogate-Control",))


CLOSED = {
    "unpurged": (FRESHNESS, None, 60, 60),
    "purged": (PURGED, None, 60, 86_400),
    "purged-with-an-hour-left": (PURGED, 3600.7, 60, 3600),
    "purged-with-seconds-left": (PURGED, 9.0, 9, 9),
    "purged-with-short-chunks": (replace(PURGED, chunk_max_age=5), None, 60, 60),
}


@pytest.mark.parametrize(
    ("freshness", "remaining", "age", "purged_age"), CLOSED.values(), ids=CLOSED
)
def test_a_closed_stream_is_cached_for_long_only_by_the_field_of_the_purged_cache(
    freshness: Freshness, remaining: float | None, age: int, purged_age: int
) -> None:
    assert closed_lifetime(freshness, remaining) == (
        f"Cache-Control: no-cache, s-maxage={age}, stale-while-revalidate=0\r\n"
        f"CDN-Cache-Control: public, max-age={age}\r\n"
        f"Surrogate-Control: public, max-age={purged_age}\r\n"
    )


def test_a_closed_stream_on_a_private_route_is_cached_by_no_shared_cache() -> None:
    assert closed_lifetime(replace(PURGED, is_private=True), None) == (
        "Cache-Control: private, no-cache\r\n"
    )


@pytest.mark.parametrize(
    ("freshness", "remaining"),
    [
        pytest.param(FRESHNESS, 0.9, id="under-a-second-remains"),
        pytest.param(FRESHNESS, -1.0, id="nothing-remains"),
        pytest.param(Freshness(tail_max_age=0), None, id="a-setting-of-zero"),
    ],
)
def test_a_tail_below_a_second_is_no_cache(freshness: Freshness, remaining: float | None) -> None:
    assert tail_lifetime(freshness, remaining) == "Cache-Control: no-cache\r\n"


@pytest.mark.parametrize(
    ("remaining", "age"), [(None, 20), (21.0, 20), (20.0, 20), (19.9, 19), (0.5, 0), (-1.0, 0)]
)
def test_poll_data_are_fresh_for_one_cursor_interval(remaining: float | None, age: int) -> None:
    assert (
        poll_lifetime(FRESHNESS, remaining)
        == f"Cache-Control: public, max-age={age}, stale-while-revalidate=0\r\n"
    )


def etag(chunk: Chunk) -> str:
    return data(chunk, CatchUp("/s", "/s", None), Freshness(), 0.0).tag


def test_an_etag_names_the_stream_its_range_and_its_end() -> None:
    state = StreamState("s", 255, 2, "text/plain", tail=10)
    longer, closed = replace(state, tail=11), replace(state, closed=True)
    tag = '"ff:0000000000000002_0000000000000000:0000000000000002_0000000000000010'
    assert etag(Chunk(longer, 0, 10, ())) == f'{tag}"'
    assert etag(Chunk(state, 0, 10, ())) == f'{tag}:tail"'
    assert etag(Chunk(closed, 0, 10, ())) == f'{tag}:closed"'


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ("*", True),
        ('"b", "a"', True),
        ('W/"b" ,W/"a"', True),
        ('"b,", "a"', True),
        ('"b", *', True),
        (', "a"', True),
        ('"b",, "a"', True),
        ("", False),
        ('"b"', False),
        ("a", False),
        ('w/"a"', False),
        ('"a', False),
        ('"b, "a"', False),
    ],
)
def test_if_none_match_is_parsed_as_a_list_and_compared_weakly(header: str, match: bool) -> None:
    """Recipients must take empty elements of a list for nothing (RFC 9110 section 5.6.1)."""
    assert matches(header, '"a"') is match


TAG = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF).filter(
        lambda character: character != '"' and not 0x7F <= ord(character) < 0x80
    ),
    max_size=6,
).map(lambda text: f'"{text}"')


@given(TAG, st.lists(st.tuples(st.sampled_from(["", "W/"]), TAG), max_size=6))
def test_an_if_none_match_list_matches_by_one_tag(tag: str, others: list[tuple[str, str]]) -> None:
    header = ", ".join(prefix + other for prefix, other in others)
    assert matches(header, tag) is any(other == tag for _, other in others)
    assert matches(f"{header}, {tag}" if header else tag, tag)


def test_tail_directive_max_age_0_replaces_no_cache_for_browsers_only() -> None:
    spelled = replace(FRESHNESS, tail_directive="max-age=0")
    for lines, usual in (
        (tail_lifetime(spelled), tail_lifetime(FRESHNESS)),
        (poll_timeout(spelled, closed=False), poll_timeout(FRESHNESS, closed=False)),
    ):
        age = 5 if "s-maxage=5" in usual else 1
        first, _, edge = lines.partition("\r\n")
        assert first == f"Cache-Control: max-age=0, s-maxage={age}, stale-while-revalidate=0"
        assert edge == usual.partition("\r\n")[2]


@pytest.mark.parametrize("is_private", [True, False])
def test_a_tail_directive_does_not_change_private_or_no_cache_headers(is_private: bool) -> None:
    usual = replace(FRESHNESS, is_private=is_private, tail_max_age=0)
    spelled = replace(usual, tail_directive="max-age=0")
    assert tail_lifetime(spelled) == tail_lifetime(usual)
    assert poll_timeout(spelled, closed=True) == poll_timeout(usual, closed=True)
    assert tail_lifetime(spelled, 0.5) == tail_lifetime(usual, 0.5)
