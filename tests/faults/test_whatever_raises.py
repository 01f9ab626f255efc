"""Whatever raises on the way of a request: the client is told, and nothing of it is left."""

from __future__ import annotations

import random

import pytest

from tests.faults.requests_that_fail import KINDS, calls_of, faults_of

SAMPLE = 6  # of each kind; `make torture` has all


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_left_of_a_request_in_which_a_call_raises(kind: str) -> None:
    calls = await calls_of(kind)
    assert await faults_of(kind, random.sample(calls, min(SAMPLE, len(calls)))) == {}
