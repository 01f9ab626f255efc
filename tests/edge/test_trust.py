"""A followed stream that comes to be in doubt while a connection is dealt with."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from gateway.edge.followed.trust import Trust
from gateway.edge.polls.verification import Verification


def trust() -> tuple[Trust, Verification, Mock]:
    verification, following = Verification(Mock()), Mock()
    return Trust(verification, following), verification, following


async def test_what_is_out_is_given_up_once_who_has_raised_the_doubt_is_done() -> None:
    """That may be the connection on which it is out."""
    doubted, verification, following = trust()
    doubted.doubt()
    doubted.doubt()
    assert verification.is_in_doubt
    assert not following.start_over.called
    await asyncio.sleep(0)
    assert following.start_over.call_count == 1


async def test_a_comparison_for_which_somebody_waits_begins_at_once() -> None:
    doubted, _, following = trust()
    doubted.doubt()
    doubted.hurry()
    await asyncio.sleep(0)
    assert [one[0] for one in following.method_calls] == ["start_over", "hurry"]
