"""Which stream is at a path, told by the types that are found there."""

from __future__ import annotations

import pytest

from gateway.cache.rules.latest_content_types import MAX_STREAMS, LatestContentTypes


def test_another_content_type_at_a_path_counts_as_another_stream() -> None:
    seen = LatestContentTypes()
    assert not seen.is_another("s", "text/plain", 1)
    assert not seen.is_another("s", "Text/Plain; charset=utf-8", 2)
    assert seen.is_another("s", "application/json", 3)
    assert not seen.is_another("other", "text/plain", 4)


@pytest.mark.parametrize(
    ("number", "content_type", "past"),
    [
        (4, "application/json", True),
        (4, "text/plain", False),
        (6, "application/json", False),
    ],
)
def test_a_response_requested_before_another_content_type_was_found_is_outdated(
    number: int, content_type: str, past: bool
) -> None:
    seen = LatestContentTypes()
    seen.is_another("s", "text/plain", 5)
    assert (seen.is_another("s", content_type, number) is None) is past


def test_a_late_response_to_an_earlier_request_does_not_lower_the_latest_number() -> None:
    seen = LatestContentTypes()
    seen.is_another("s", "text/plain", 5)
    seen.is_another("s", "text/plain", 3)
    assert seen.is_another("s", "application/json", 4) is None


@pytest.mark.parametrize(
    ("others", "known"), [(MAX_STREAMS - 2, True), (MAX_STREAMS - 1, True), (MAX_STREAMS, False)]
)
def test_the_path_read_longest_ago_is_dropped_at_the_bound(others: int, known: bool) -> None:
    seen = LatestContentTypes()
    seen.is_another("s", "text/plain", 0)
    for number in range(others):
        seen.is_another(number, "text/plain", number)
    assert len(seen) == min(others + 1, MAX_STREAMS)
    assert seen.is_another("s", "application/json", MAX_STREAMS) is known
