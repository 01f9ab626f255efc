"""Operators at any gateway of a Redis see and change the subscriptions that one delivers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.features.questions.contract import AnswerFailure
from gateway.features.questions.subscriptions import (
    DeleteSubscription,
    DeletionResult,
    DescribeSubscription,
    ListSubscriptions,
    PauseSubscription,
    PutSubscription,
    ReceiverTestResult,
    ReplayResult,
    ReplaySubscription,
    SendTestDelivery,
    SubscriptionDescription,
    SubscriptionPage,
    SubscriptionQuery,
)
from tests.subscriptions.receivers import receiver, two
from tests.support.serving import PREFIX

if TYPE_CHECKING:
    from gateway.features.questions.subscriptions import SubscriptionQuestion
    from tests.subscriptions.receivers import Subscribed

DONE = {"done": True}


async def ask(gateway: Subscribed, question: SubscriptionQuestion) -> Any:
    """Return the answer of a gateway."""
    return await gateway.gateway.inspector.answer(question)


async def test_an_operator_elsewhere_sees_and_changes_all(redis_url: str) -> None:
    async with two(redis_url) as (owner, other), receiver(answer=DONE) as at:
        body = {"type": "webhook", "pattern": "*", "webhook": {"url": at.url}}
        wish = PutSubscription(PREFIX, "s", msgspec.Raw(msgspec.json.encode(body)))
        assert isinstance(await ask(other, wish), SubscriptionDescription)
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
        assert isinstance(await ask(other, ReplaySubscription(PREFIX, "s")), ReplayResult)
        await at.wake(2)
        tested = await ask(other, SendTestDelivery(PREFIX, "s"))
        assert isinstance(tested, ReceiverTestResult)
        assert tested.accepted
        refused = await ask(other, ReplaySubscription(PREFIX, "s", ("nobody",)))
        assert isinstance(refused, AnswerFailure)
        assert refused.status == 409
        assert await ask(other, DeleteSubscription(PREFIX, "s")) == DeletionResult(True)
        assert owner.engine.by_id == {}


async def test_a_change_that_several_processes_hand_on_is_made_once(redis_url: str) -> None:
    async with two(redis_url) as (owner, other), receiver(answer=DONE) as at:
        await owner.webhook("s", at, pattern="*")
        question = SendTestDelivery(PREFIX, "s", change_id="one")
        answers = await asyncio.gather(ask(owner, question), ask(other, question))
        assert answers[0] == answers[1]
        assert [it["test"] for it in at.wakes] == [True]
        await ask(other, SendTestDelivery(PREFIX, "s", change_id="two"))
        assert len(at.wakes) == 2


@pytest.mark.parametrize("method", ["operator", "OPERATOR"])
async def test_no_client_can_ask_what_gateways_ask_each_other(redis_url: str, method: str) -> None:
    async with two(redis_url) as (_, other):
        status, _ = await other.ask(method, "s", {"type": "ListSubscriptions", "where": {}})
        assert status in {400, 405, 501}
