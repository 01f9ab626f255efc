"""Operators see all subscriptions, page by page, and test their receivers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.errors import BadRequest
from gateway.features.questions.contract import AnswerFailure
from gateway.features.questions.subscriptions import (
    DescribeSubscription,
    ListSubscriptions,
    PutSubscription,
    ReceiverTestResult,
    SendTestDelivery,
    SubscriptionDescription,
    SubscriptionPage,
    SubscriptionQuery,
)
from gateway.features.subscriptions.operators import answer_for
from tests.subscriptions.receivers import is_signed, receiver, subscribed
from tests.subscriptions.test_access import OWN, tokens_file
from tests.support.serving import PREFIX, get

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.features.questions.subscriptions import SubscriptionQuestion
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


async def put(gateway: Subscribed, name: str, **members: Any) -> Any:
    """Create a subscription of the operators."""
    body = msgspec.Raw(msgspec.json.encode(members))
    return await ask(gateway, PutSubscription(PREFIX, name, body))


@pytest.mark.parametrize("order", ["id", "pending", "oldest"])
async def test_pages_have_each_subscription_once_whatever_the_order(order: str) -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        for number in range(23):
            await put(
                gateway,
                f"s{number:02}",
                type="webhook",
                pattern=f"p{number % 4}/*",
                webhook={"url": at.url},
            )
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
        await put(
            gateway, "s", type="webhook", pattern="*", webhook={"url": f"{at.url}/secret?key=k"}
        )
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
        members = {"type": "webhook", "pattern": "*", "webhook": {"url": at.url}}
        assert (await put(gateway, name, **members)).row.id == name
        assert (await ask(gateway, DescribeSubscription(PREFIX, name))).row.id == name


async def test_an_id_that_is_too_long_is_refused() -> None:
    async with subscribed() as gateway, receiver() as at:
        members = {"type": "webhook", "pattern": "*", "webhook": {"url": at.url}}
        refused = await put(gateway, "x" * 10_000, **members)
        assert isinstance(refused, AnswerFailure)
        assert refused.status == 400


async def test_a_subscription_of_the_operators_may_read_all_and_is_no_clients(
    tmp_path: Path,
) -> None:
    async with (
        subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway,
        receiver(answer=DONE) as at,
    ):
        made = await put(gateway, "s", type="webhook", pattern="*", webhook={"url": at.url})
        assert made.row.owner == "console"
        for token, status in ((None, 401), ("all-0123456789abcdef", 403)):
            assert (await gateway.ask("GET", "s", token=token))[0] == status
            assert (await gateway.ask("DELETE", "s", token=token))[0] == status
        await gateway.create("a", "Authorization: Bearer all-0123456789abcdef", body=b'{"n":1}')
        await at.wake()


async def test_a_test_delivery_is_signed_says_that_it_is_one_and_moves_no_cursor() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        at.status, at.answer = 200, DONE
        tested = await ask(gateway, SendTestDelivery(PREFIX, "s"))
        assert isinstance(tested, ReceiverTestResult)
        assert (tested.accepted, tested.status, tested.reason) == (True, 200, None)
        body, signature = at.received[-1]
        jwks = json.loads((await gateway.gateway.ask(get(f"{PREFIX}/__ds/jwks.json"))).body)
        assert is_signed(body, signature, jwks)
        sent = json.loads(body)
        assert (sent["test"], sent["streams"], sent["callback_token"]) == (True, [], "")
        assert await gateway.cursors("s") == {"a": "-1"}
        assert gateway.engine.by_id["s"].delivery.failures == 1


async def test_a_test_delivery_tells_the_status_or_the_reason_of_a_failure() -> None:
    async with subscribed() as gateway, receiver(status=503) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.pull("p", pattern="x/*")
        tested = await ask(gateway, SendTestDelivery(PREFIX, "s"))
        assert (tested.accepted, tested.status) == (False, 503)
        assert tested.reason == "the receiver answered 503; see its log"
        gateway.engine.sender.client.allow_loopback(loopback=False)
        tested = await ask(gateway, SendTestDelivery(PREFIX, "s"))
        assert (tested.accepted, tested.status) == (False, None)
        assert "this machine" in (tested.reason or "")
        for name, status in (("p", 400), ("nobody", 404)):
            assert (await ask(gateway, SendTestDelivery(PREFIX, name))).status == status


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
