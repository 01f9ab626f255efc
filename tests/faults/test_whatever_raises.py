"""Whatever raises on the way of a request: the client is told, and nothing of it is left."""

from __future__ import annotations

import random

import pytest

from tests.faults.requests_that_fail import KINDS, faults_in, wrong_after

SAMPLE = 5  # of each kind; `make torture` has all of them


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


async def test_a_fault_while_an_answer_is_read_never_has_a_part_pass_for_the_whole() -> None:
    """An answer without a length ends with its connection, and faults end that, too."""
    kind = "a read that ends with its connection"
    parsing = ("RawConnection._leave_to_parser#", "ParsedAnswer.is_bodyless#")
    faults = [fault for fault in await faults_in(kind) if any(one in str(fault) for one in parsing)]
    assert len({fault.call.function for fault in faults}) == len(parsing)
    assert await wrong_after(kind, faults) == {}


async def test_nobody_joins_a_fetch_that_could_not_begin() -> None:
    kind = "a read that ends with its connection"
    faults = [fault for fault in await faults_in(kind) if not fault.leaves]
    beginning = [fault for fault in faults if fault.call.function == "SharedFetch.ask"]
    assert beginning
    assert await wrong_after(kind, beginning) == {}


async def test_a_client_that_resets_its_connection_as_it_is_answered_is_no_error() -> None:
    kind = "an own append in parts"
    faults = [fault for fault in await faults_in(kind) if fault.leaves]
    leaving = [fault for fault in faults if fault.call.function == "Commits._settled"]
    assert leaving
    assert await wrong_after(kind, leaving) == {}
