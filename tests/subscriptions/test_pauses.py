"""An operator pauses a subscription: no wake is sent, nothing is lost, and its owner is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate_gateway.features.questions.subscriptions import PauseSubscription
from headgate_gateway.features.subscriptions.delivery.queue import STUCK_AFTER_S
from headgate_gateway.features.subscriptions.operators import answer_for
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.telemetry.health import by_name
from tests.subscriptions.receivers import ends_of, receiver, subscribed
from tests.support.serving import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.subscriptions.receivers import Subscribed

DONE = {"done": True}


async def pause(gateway: Subscribed, *, resumes: bool = False) -> None:
    """Pause the subscription `s`, or resume it."""
    await answer_for(gateway.engine, PauseSubscription(PREFIX, "s", resumes))


async def told(gateway: Subscribed) -> Any:
    """Return what the owner is told."""
    return (await gateway.ask("GET", "s"))[1]


async def test_a_paused_webhook_is_not_called_until_it_is_resumed() -> None:
    async with subscribed() as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="*")
        await pause(gateway)
        assert (await told(gateway))["status"] == "paused"
        assert (await told(gateway))["paused_at"] is not None
        for _ in range(3):
            await gateway.create("a", body=b'{"n":1}')
            await gateway.append("a")
            gateway.pass_time(4000.0)
        await gateway.quiet()
        assert at.wakes == []
        await pause(gateway, resumes=True)
        wake = await at.wake()
        assert ends_of(wake)[0][0] == "a"
        await gateway.quiet()
        assert (await told(gateway))["status"] == "active"
        assert (await told(gateway))["paused_at"] is None


async def test_a_pause_lasts_over_a_restart(tmp_path: Path) -> None:
    async with receiver(answer=DONE) as at:
        async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
            await gateway.webhook("s", at, pattern="*")
            await gateway.create("a", body=b'{"n":1}')
            await at.wake()
            await gateway.quiet()
            await pause(gateway)
            await gateway.append("a")
        async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
            gateway.pass_time(4000.0)
            await gateway.quiet()
            assert len(at.wakes) == 1
            await pause(gateway, resumes=True)
            assert (await at.wake(2))["streams"][0]["has_pending"] is True


async def test_a_wake_that_waits_behind_a_failure_is_not_repeated_during_a_pause() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.quiet()
        await pause(gateway)
        gateway.pass_time(STUCK_AFTER_S + 1.0)
        members = {"type": "webhook", "pattern": "*", "webhook": {"url": at.url}}
        assert (await gateway.put("s", **members))[0] == 200  # a confirmation tries at once
        await gateway.quiet()
        assert len(at.wakes) == 1
        assert by_name(gateway.gateway.route.notes()) == {}
        await pause(gateway, resumes=True)
        assert (await at.wake(2))["wake_id"] == wake["wake_id"]


async def test_a_lease_that_is_in_force_may_end_by_an_ack_during_a_pause() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.quiet()
        await pause(gateway)
        await gateway.append("a")
        assert await gateway.callback(wake, *ends_of(wake)) == (
            200,
            {"ok": True, "next_wake": False},
        )
        await gateway.quiet()
        assert len(at.wakes) == 1
        await pause(gateway, resumes=True)
        assert (await at.wake(2))["generation"] == 2


async def test_a_paused_pull_wake_subscription_writes_no_event_and_cannot_be_claimed() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="e/*")
        await pause(gateway)
        await gateway.create("e/a", body=b'{"n":1}')
        gateway.pass_time(4000.0)
        await gateway.quiet()
        assert await gateway.read("wakes") == []
        status, refused = await gateway.claim()
        assert (status, refused["error"]["code"]) == (409, "NO_PENDING_WORK")
        await pause(gateway, resumes=True)
        await gateway.quiet()
        assert len(await gateway.read("wakes")) == 1
        assert (await gateway.claim())[0] == 200


async def test_a_claim_that_expires_during_a_pause_is_announced_again_only_afterwards() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="e/*", lease_ttl_ms=1000)
        await gateway.create("e/a", body=b'{"n":1}')
        await gateway.quiet()
        await gateway.claim()
        await pause(gateway)
        gateway.pass_time(2.0)
        gateway.pass_time(4000.0)
        await gateway.quiet()
        assert len(await gateway.read("wakes")) == 1
        await pause(gateway, resumes=True)
        await gateway.quiet()
        events = await gateway.read("wakes")
        assert [it["generation"] for it in events] == [1, 2]
