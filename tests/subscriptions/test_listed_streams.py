"""What a list of streams tells first, as nobody has reported it so far."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.subscriptions.receivers import log_at, receiver, shared, stream_of, subscribed
from tests.support.serving import post, put, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.subscriptions.receivers import Subscribed
    from tests.support.serving import Serving

DONE = {"done": True}


@contextlib.asynccontextmanager
async def owner_and_silent(url: str) -> AsyncIterator[tuple[Subscribed, Serving]]:
    """The gateway that delivers, and one that reports nothing, as if it were killed before."""
    async with subscribed(log_at(url)) as owner, serving(log_at(url)) as silent:
        yield owner, silent


async def test_an_append_that_only_a_list_has_told_wakes_whoever_had_the_stream_before(
    redis_url: str,
) -> None:
    async with owner_and_silent(redis_url) as (owner, silent), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="*")
        await owner.create("a", body=b'{"n":1}')
        await at.wake()
        await owner.quiet()
        await silent.ask(post("a", b'{"n":2}', content_type="application/json"))
        await owner.webhook("later", at, pattern="*")
        assert (await at.wake(2))["subscription_id"] == "s"


@pytest.mark.parametrize(
    "later",
    [
        pytest.param({"pattern": "*"}, id="a-pattern"),
        pytest.param({"streams": ["a"]}, id="a-name"),
    ],
)
async def test_a_stream_that_a_new_subscription_finds_first_wakes_those_before_it(
    redis_url: str, later: dict[str, object]
) -> None:
    async with owner_and_silent(redis_url) as (owner, silent), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="*")
        await silent.ask(put("a", body=b'{"n":1}', content_type="application/json"))
        await owner.webhook("later", at, **later)
        wake = await at.wake()
        assert wake["subscription_id"] == "s"
        assert stream_of(wake, "a")["acked_offset"] == "-1"
        await owner.quiet()
        assert len(at.wakes) == 1


async def test_a_wake_stream_that_a_comparison_finds_first_wakes_those_that_match_it(
    redis_url: str,
) -> None:
    async with owner_and_silent(redis_url) as (owner, silent), receiver(answer=DONE) as at:
        members = {"type": "pull-wake", "pattern": "none", "wake_stream": "a"}
        assert (await owner.put("first", **members))[0] == 201
        await owner.webhook("named", at, streams=["a"])
        await owner.webhook("s", at, pattern="*")
        await silent.ask(put("a", body=b'{"n":1}', content_type="application/json"))
        shared(owner).comparisons.schedule()
        assert {(await at.wake(number))["subscription_id"] for number in (1, 2)} == {"named", "s"}
