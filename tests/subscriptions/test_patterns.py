"""Patterns match names as the protocol says, and a look-up costs what matches."""

from __future__ import annotations

import functools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.subscriptions.state.patterns import (
    PatternIndex,
    pattern_of,
    stream_name,
)

SEGMENTS = st.sampled_from(["a", "b", "*", "**", "%2A"])
NAME_SEGMENTS = st.sampled_from(["a", "b", "%2A", "*"])
NAMES = st.lists(NAME_SEGMENTS, min_size=1, max_size=5).map("/".join)
LONG_NAMES = st.lists(NAME_SEGMENTS, min_size=1, max_size=9).map("/".join)
MANY, LONG = 10_000, 900  # patterns, and segments of a name


def matches(pattern: list[str], name: list[str]) -> bool:
    """Return whether a pattern matches, by its definition."""
    if not pattern:
        return not name
    first, *rest = pattern
    if first == "**":
        return any(matches(rest, name[start:]) for start in range(len(name) + 1))
    if not name or (first != "*" and first.replace("%2A", "*") != name[0].replace("%2A", "*")):
        return False
    return matches(rest, name[1:])


@given(st.lists(st.lists(SEGMENTS, min_size=1, max_size=8), max_size=6), LONG_NAMES)
def test_a_name_is_matched_by_exactly_the_patterns_that_fit(
    patterns: list[list[str]], name: str
) -> None:
    index: PatternIndex[int] = PatternIndex()
    for number, segments in enumerate(patterns):
        index.add(pattern_of("/".join(segments)), number)
    expected = {n for n, segments in enumerate(patterns) if matches(segments, name.split("/"))}
    found = index.match(name)
    assert sorted(found) == sorted(expected)
    for number, segments in enumerate(patterns):
        index.remove(pattern_of("/".join(segments)), number)
    assert index.match(name) == []
    assert len(index) == 0  # no answer tells what removed patterns leave in memory


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("events/*", ["/p/events/*"]),
        ("events/**", ["/p/events/*", "/p/events"]),
        ("events/*/done", ["/p/events/*"]),
        ("**", ["/p/*"]),
        ("*/x", ["/p/*"]),
        ("a/b", ["/p/a/b"]),
    ],
)
def test_a_subscriber_needs_to_read_all_that_may_match(pattern: str, paths: list[str]) -> None:
    assert pattern_of(pattern).read_paths("/p") == paths


@given(st.lists(SEGMENTS, min_size=1, max_size=5), NAMES)
def test_every_matching_name_has_the_beginning_that_is_listed(
    segments: list[str], name: str
) -> None:
    if matches(segments, name.split("/")):
        assert name.startswith(pattern_of("/".join(segments)).beginning)


@pytest.mark.parametrize(
    "text", ["", "/", "a//b", "a/./b", "__ds", "__ds/x", "%zz", pytest.param("\x00", id="nul")]
)
def test_what_names_no_stream_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        stream_name(text)


def test_a_name_is_matched_without_a_look_at_patterns_that_begin_otherwise() -> None:
    index: PatternIndex[int] = PatternIndex()
    for number in range(1_000):
        index.add(pattern_of(f"t{number}/*"), number)
    index.add(pattern_of("**/last"), 1_000)
    assert index.match("t7/x") == [7]
    assert sorted(index.match("t7/last")) == [7, 1_000]
    assert index.match("u/x") == []


@pytest.mark.parametrize(
    ("longest", "reason"),
    [
        pytest.param("/".join("a" * 32), "at most 32 segments", id="segments"),
        pytest.param("**/a/**/a/**/a/**/**", "at most 4 segments", id="several"),
    ],
)
def test_a_pattern_of_the_most_segments_is_taken_and_a_longer_one_refused(
    longest: str, reason: str
) -> None:
    pattern_of(longest)
    with pytest.raises(BadRequest, match=reason):
        pattern_of(f"{longest}/a/**")


def hardest_patterns(number: int, segments: str = "aab*") -> list[str]:
    """Return patterns of the most segments, all of which have to be compared with a name."""
    chance = random.Random(1)
    found: dict[str, None] = {}
    while len(found) < number:
        chosen = chance.choices(segments, k=28)
        for at in (24, 16, 8, 0):
            chosen.insert(at, "**")
        found["/".join(chosen)] = None
    return list(found)


@functools.cache
def hardest_index() -> PatternIndex[int]:
    index: PatternIndex[int] = PatternIndex()
    for number, text in enumerate(hardest_patterns(MANY)):
        index.add(pattern_of(text), number)
    return index


@pytest.mark.parametrize("segments", ["a", "ab", "aaaaab"], ids=["one", "two", "rare"])
def test_the_longest_patterns_and_names_are_matched_without_backtracking(segments: str) -> None:
    name = "/".join(random.Random(2).choices(segments, k=LONG))
    index = hardest_index()
    began = time.thread_time()
    index.match(name)
    assert time.thread_time() - began < 0.5  # 0.07 s on an idle machine
