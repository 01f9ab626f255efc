"""Receivers that fail are called again, less and less often, and hold up nobody else."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from headgate_gateway.features.subscriptions.delivery.queue import (
    LEAST_FAILURES,
    STUCK_AFTER_S,
    pause_s,
)
from headgate_gateway.telemetry.health import by_name
from tests.subscriptions.receivers import receiver, subscribed

DONE = {"done": True}


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("failures", "failing_s", "pause"),
    [
        *[(1, 0, 1), (2, 1, 2), (6, 60, 32), (7, 100, 60), (10_000, 80_000, 60)],
        *[(99, STUCK_AFTER_S, 60), (100, STUCK_AFTER_S, 3600)],
    ],
)
def test_pauses_grow_to_a_minute_and_after_a_day_to_an_hour(
    failures: int, failing_s: float, pause: float, chance: float
) -> None:
    assert pause_s(failures, failing_s, chance) == pytest.approx(pause * (0.8 + 0.4 * chance))


async def test_a_failed_delivery_is_repeated_as_the_same_wake_until_it_succeeds() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        for number in range(2, 5):
            await gateway.quiet()
            _, told = await gateway.ask("GET", "s")
            reason = "the receiver answered 500; see its log"
            assert (told["status"], told["last_error"]) == ("failed", reason)
            assert told["next_attempt_at"] is not None
            gateway.pass_time(80.0)
            await at.wake(number)
        await gateway.quiet()
        at.status, at.answer = 200, DONE
        gateway.pass_time(80.0)
        await at.wake(5)
        assert {(it["wake_id"], it["generation"]) for it in at.wakes} == {
            (at.wakes[0]["wake_id"], 1)
        }
        await gateway.quiet()
        _, told = await gateway.ask("GET", "s")
        assert (told["status"], told["last_error"]) == ("active", None)


async def test_a_subscription_has_failed_while_its_receiver_is_called_again() -> None:
    is_open = asyncio.Event()

    async def respond(call: web.Request) -> web.Response:
        await is_open.wait()
        return web.json_response(DONE)

    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        at.respond = respond
        gateway.pass_time(80.0)
        await at.wake(2)
        _, told = await gateway.ask("GET", "s")
        is_open.set()
        assert (told["status"], told["next_attempt_at"]) == ("failed", None)
        await gateway.quiet()
        _, told = await gateway.ask("GET", "s")
        assert (told["status"], told["last_error"]) == ("active", None)


async def test_a_callback_ends_the_retries_of_its_wake() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.quiet()
        ends = [(it["path"], it["tail_offset"]) for it in wake["streams"]]
        assert (await gateway.callback(wake, *ends))[1] == {"ok": True, "next_wake": False}
        gateway.pass_time(4000.0)
        await gateway.quiet()
        assert len(at.wakes) == 1


async def test_a_subscription_that_has_failed_for_a_day_is_reported_and_still_tried() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        for number in range(2, LEAST_FAILURES + 1):
            assert "subscriptions /v1/stream" not in by_name(gateway.gateway.route.notes())
            gateway.pass_time(STUCK_AFTER_S / 100)
            await at.wake(number)
            await gateway.quiet()
        gateway.pass_time(STUCK_AFTER_S / 100)
        await at.wake(number + 1)
        await gateway.quiet()
        assert "subscriptions /v1/stream" in by_name(gateway.gateway.route.notes())
        gateway.pass_time(2000.0)
        await gateway.quiet()
        assert len(at.wakes) == number + 1
        gateway.pass_time(2400.0)
        await at.wake(number + 2)


async def test_a_receiver_that_acknowledges_nothing_is_woken_with_growing_pauses() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*", lease_ttl_ms=1000)
        await gateway.create("a", body=b'{"n":1}')
        for number in range(1, 12):
            await at.wake(number)
            await gateway.quiet()
            gateway.pass_time(1.0)
            gateway.pass_time(80.0)
        gateway.pass_time(0.0)
        delivery = gateway.engine.by_id["s"].delivery
        assert delivery.failures >= 11
        assert [it["generation"] for it in at.wakes] == list(range(1, len(at.wakes) + 1))


async def test_a_receiver_that_is_done_without_an_ack_is_woken_behind_a_pause() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        for number in range(1, 4):
            wake = await at.wake(number)
            await gateway.quiet()

            assert await gateway.callback(wake) == (200, {"ok": True, "next_wake": True})
            await gateway.quiet()
            assert len(at.wakes) == number
            gateway.pass_time(5.0)
        assert (await at.wake(4))["generation"] == 4


async def test_a_deleted_subscription_is_called_no_more() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        await gateway.quiet()
        await gateway.ask("DELETE", "s")
        gateway.pass_time(4000.0)
        await gateway.append("a")
        await gateway.quiet()
        assert len(at.wakes) == 1
        assert (await gateway.callback(wake))[0] == 404
