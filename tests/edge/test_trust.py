"""A followed stream that comes to be in doubt while a connection is dealt with."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from gateway.edge.followed.revalidation import StreamRevalidation
from gateway.edge.polls.verification import Verification


def trust() -> tuple[StreamRevalidation, Verification, Mock]:
    verification, following = Verification(Mock()), Mock()
    return StreamRevalidation(verification, following), verification, following


async def test_a_request_under_way_is_abandoned_only_after_the_caller_of_doubt_returns() -> None:
    """That may be the connection on which it is out."""
    doubted, verification, following = trust()
    doubted.doubt()
    doubted.doubt()
    assert verification.is_in_doubt
    assert not following.start_over.called
    await asyncio.sleep(0)
    assert following.start_over.call_count == 1


async def test_a_comparison_that_a_reader_waits_for_begins_at_once() -> None:
    doubted, _, following = trust()
    doubted.doubt()
    doubted.hurry()
    await asyncio.sleep(0)
    assert [one[0] for one in following.method_calls] == ["start_over", "hurry"]
