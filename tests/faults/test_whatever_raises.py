"""Whatever raises on the way of a request: the client is told, and nothing of it is left."""

from __future__ import annotations

import random

import pytest

from tests.faults.requests_that_fail import KINDS, faults_in, wrong_after

SAMPLE = 10  # of each kind; `make torture` has all of them


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_left_of_a_request_in_which_something_goes_wrong(kind: str) -> None:
    faults = await faults_in(kind)
    assert await wrong_after(kind, random.sample(faults, min(SAMPLE, len(faults)))) == {}


async def test_a_stream_is_followed_under_its_path_or_not_at_all() -> None:
    """Where it was in one of two tables only, it could not be forgotten any more."""
    faults = await faults_in("a long-poll")
    reading = [fault for fault in faults if "CacheRequest.path#" in str(fault)]
    assert reading
    assert await wrong_after("a long-poll", reading) == {}
