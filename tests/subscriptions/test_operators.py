"""Operators see all subscriptions, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.questions.subscriptions import (
    DescribeSubscription,
    ListSubscriptions,
    SubscriptionDescription,
    SubscriptionPage,
    SubscriptionQuery,
)
from headgate_gateway.features.subscriptions.operators import answer_for
from tests.subscriptions.receivers import receiver, subscribed
from tests.support.serving import PREFIX

if TYPE_CHECKING:
    from headgate_gateway.features.questions.subscriptions import SubscriptionQuestion
    from tests.subscriptions.receivers import Subscribed

DONE = {"done": True}
HOSTILE = {
    "a-script": "<script>alert(1)</script>",
    "a-mark-of-direction": "\u202egpj.exe",
    "a-slash-and-a-blank": "a/b c",
    "200-characters": "x" * 200,
}


async def ask(gateway: Subscribed, question: SubscriptionQuestion) -> Any:
    """Return the answer."""
    return await answer_for(gateway.engine, question)


async def page(gateway: Subscribed, where: dict[str, Any], **more: Any) -> SubscriptionPage:
    """Return a page of the list."""
    found = await ask(gateway, ListSubscriptions(SubscriptionQuery(**where), **more))
    assert isinstance(found, SubscriptionPage)
    return found


@pytest.mark.parametrize("order", ["id", "pending", "oldest"])
async def test_pages_have_each_subscription_once_whatever_the_order(order: str) -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        for number in range(23):
            await gateway.webhook(f"s{number:02}", at, pattern=f"p{number % 4}/*")
        for name in ("p1/a", "p1/b", "p3/a"):
            await gateway.create(name, body=b'{"n":1}')
        await gateway.quiet()
        seen: list[str] = []
        after = ""
        while True:
            found = await page(gateway, {}, order=order, after=after, limit=5)
            assert found.total == 23
            seen += [row.id for row in found.rows]
            if found.after is None:
                break
            after = found.after
        assert sorted(seen) == [f"s{number:02}" for number in range(23)]
        if order == "pending":
            assert {int(it[1:]) % 4 for it in seen[:6]} == {1}
        if order == "oldest":
            assert {int(it[1:]) % 4 for it in seen[:11]} == {1, 3}


async def test_a_list_is_searched_by_text_status_and_kind_and_counts_the_states() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("orders", at, pattern="orders/*")
        await gateway.webhook("bills", at, streams=["bills/May"])
        await gateway.pull("pool", pattern="jobs/**")
        await gateway.create("orders/a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        for where, ids in (
            ({"text": "ORD"}, ["orders"]),
            ({"text": "may"}, ["bills"]),
            ({"text": "wakes"}, ["pool"]),
            ({"text": "answered 500"}, ["orders"]),
            ({"kind": "pull-wake"}, ["pool"]),
            ({"status": "failed"}, ["orders"]),
            ({"route": PREFIX, "status": "paused"}, []),
        ):
            assert [row.id for row in (await page(gateway, where)).rows] == ids
        found = await page(gateway, {})
        assert found.states == {"active": 2, "failed": 1, "stuck": 0, "paused": 0}
        with pytest.raises(BadRequest):
            await page(gateway, {}, after="[1]")


async def test_only_those_who_may_see_urls_see_more_than_the_host_of_a_receiver() -> None:
    async with subscribed() as gateway, receiver() as at:
        webhook = {"url": f"{at.url}/secret?key=k"}
        await gateway.put("s", type="webhook", pattern="*", webhook=webhook)
        (row,) = (await page(gateway, {})).rows
        assert row.receiver == f"{at.url.removesuffix('/hook')}/…"
        assert (await page(gateway, {"text": "secret"})).rows == ()
        (row,) = (await page(gateway, {"with_urls": True, "text": "secret"})).rows
        assert row.receiver == f"{at.url}/secret?key=k"


async def test_a_described_subscription_has_pages_of_its_streams() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*", streams=["zz"])
        for number in range(120):
            await gateway.create(f"n{number:03}", body=b'{"n":1}' if number % 2 else b"")
        first = await ask(gateway, DescribeSubscription(PREFIX, "s"))
        assert isinstance(first, SubscriptionDescription)
        assert [it.stream for it in first.links] == [f"n{number:03}" for number in range(100)]
        rest = await ask(gateway, DescribeSubscription(PREFIX, "s", after=first.after or ""))
        assert (len(rest.links), rest.after) == (21, None)
        assert (rest.links[-1].tail, rest.links[-1].is_explicit) == (None, True)
        pending = await ask(gateway, DescribeSubscription(PREFIX, "s", only_pending=True))
        assert len(pending.links) == 60


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
async def test_an_id_may_be_any_text(name: str) -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook(quote(name, safe=""), at, pattern="*")
        assert (await ask(gateway, DescribeSubscription(PREFIX, name))).row.id == name


async def test_the_age_of_the_oldest_begins_with_the_first_event_and_ends_with_its_ack() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        first = await at.wake()
        await gateway.quiet()

        def waiting_since() -> float | None:
            return gateway.engine.by_id["s"].delivery.waiting_since

        begun = gateway.gateway.clock()
        assert waiting_since() == begun
        gateway.gateway.clock.advance(7.0)
        await gateway.append("a")
        assert waiting_since() == begun
        await gateway.callback(first, ("a", first["streams"][0]["tail_offset"]))
        second = await at.wake(2)
        await gateway.quiet()
        assert waiting_since() is not None
        await gateway.callback(second, ("a", second["streams"][0]["tail_offset"]))
        assert waiting_since() is None
        await gateway.append("a")
        assert waiting_since() == begun + 7.0
