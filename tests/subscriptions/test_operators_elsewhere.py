"""Operators at any gateway of a Redis see and change the subscriptions that one delivers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headgate_gateway.features.questions.contract import (
    AnswerFailure,
    FeatureAnswer,
    FeatureQuestion,
)
from headgate_gateway.features.questions.subscriptions import (
    FEATURE,
    DeleteSubscription,
    DeletionResult,
    DescribeSubscription,
    ListSubscriptions,
    PauseSubscription,
    ReplaySubscription,
    SubscriptionAnswer,
    SubscriptionPage,
    SubscriptionQuery,
)
from tests.subscriptions.receivers import receiver, two
from tests.support.serving import PREFIX

if TYPE_CHECKING:
    from headgate_gateway.features.questions.subscriptions import SubscriptionQuestion
    from tests.subscriptions.receivers import Subscribed

DONE = {"done": True}


async def ask(gateway: Subscribed, question: SubscriptionQuestion) -> Any:
    """Return the answer of a gateway."""
    found = await gateway.gateway.inspector.answer(FeatureQuestion.of(FEATURE, question))
    if isinstance(found, FeatureAnswer):
        return msgspec.json.decode(found.answer, type=SubscriptionAnswer)
    return found


async def test_an_operator_elsewhere_sees_and_changes_all(redis_url: str) -> None:
    async with two(redis_url) as (owner, other), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="*")
        await owner.create("a", body=b'{"n":1}')
        await at.wake()
        await owner.quiet()
        for where in (SubscriptionQuery(), SubscriptionQuery(PREFIX, text="s")):
            page = await ask(other, ListSubscriptions(where))
            assert isinstance(page, SubscriptionPage)
            assert ([it.id for it in page.rows], page.total) == (["s"], 1)
            assert page.states["active"] == 1
        described = await ask(other, DescribeSubscription(PREFIX, "s"))
        assert [it.stream for it in described.links] == ["a"]
        paused = await ask(other, PauseSubscription(PREFIX, "s"))
        assert paused.row.status == "paused"
        resumed = await ask(other, PauseSubscription(PREFIX, "s", resumes=True))
        assert resumed.row.status == "active"
        question = ReplaySubscription(PREFIX, "s")
        done = await asyncio.gather(ask(owner, question), ask(other, question))
        assert sorted(it.streams for it in done) == [0, 1]
        await at.wake(2)
        refused = await ask(other, ReplaySubscription(PREFIX, "s", ("nobody",)))
        assert isinstance(refused, AnswerFailure)
        assert refused.status == 409
        assert await ask(other, DeleteSubscription(PREFIX, "s")) == DeletionResult(True)
        assert owner.engine.by_id == {}


@pytest.mark.parametrize("method", ["operator", "OPERATOR"])
async def test_no_client_can_ask_what_gateways_ask_each_other(redis_url: str, method: str) -> None:
    async with two(redis_url) as (_, other):
        status, _ = await other.ask(method, "s", {"type": "ListSubscriptions", "where": {}})
        assert status in {400, 405, 501}
