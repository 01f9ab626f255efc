"""Workers claim pull-wake subscriptions, and only the present lease moves cursors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.subscriptions.receivers import Subscribed, ends_of, receiver, subscribed
from tests.support.waiting import until


async def act(
    gateway: Subscribed,
    action: str,
    claimed: dict[str, Any],
    *,
    acks: bool = True,
    done: bool = True,
) -> tuple[int, Any]:
    """Acknowledge all that a claim told, or release it."""
    ends = ends_of(claimed) if acks else []
    return await gateway.ack(claimed, *ends, action=action, done=done)


async def written(gateway: Subscribed, number: int) -> list[dict[str, Any]]:
    """Return the events of the wake stream once it has so many."""
    found: list[dict[str, Any]] = []

    async def has_them() -> bool:
        found[:] = await gateway.read("wakes")
        return len(found) >= number

    await until(has_them)
    return found


async def test_an_append_writes_an_event_and_its_claim_returns_that_wake() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        (event,) = await written(gateway, 1)
        assert (event["type"], event["subscription_id"]) == ("wake", "s")
        assert (event["stream"], event["generation"]) == ("events/a", 1)
        status, claimed = await gateway.claim()
        assert (status, claimed["generation"], claimed["lease_ttl_ms"]) == (200, 1, 30_000)
        assert claimed["streams"][0]["path"] == "events/a"


async def test_a_second_worker_is_told_who_has_the_lease() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        await gateway.claim("first")
        status, told = await gateway.claim("second")
        error = told["error"]
        assert (status, error["code"]) == (409, "ALREADY_CLAIMED")
        assert (error["current_holder"], error["generation"]) == ("first", 1)


async def test_an_ack_is_a_heartbeat_and_done_ends_the_lease() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*", lease_ttl_ms=10_000)
        await gateway.create("events/a", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        for _ in range(3):
            gateway.pass_time(9.0)
            beat = await act(gateway, "ack", claimed, acks=False, done=False)
            assert beat == (200, {"ok": True, "next_wake": False})
        assert await act(gateway, "ack", claimed) == (200, {"ok": True, "next_wake": False})
        assert (await act(gateway, "ack", claimed))[1]["error"]["code"] == "FENCED"
        await gateway.append("events/a")
        assert (await gateway.claim())[1]["generation"] == 2


async def test_a_wake_stream_that_is_missing_gets_the_event_as_soon_as_it_is_created() -> None:
    async with subscribed() as gateway:
        document = {"type": "pull-wake", "pattern": "events/*", "wake_stream": "wakes"}
        assert (await gateway.ask("PUT", "s", document))[0] == 201
        await gateway.create("events/a", body=b'{"n":1}')
        await gateway.quiet()
        _, told = await gateway.ask("GET", "s")
        assert told["status"] == "failed"
        assert told["last_error"] == (
            "the wake stream wakes cannot be written: there is no stream at this path; "
            "create it with Content-Type: application/json"
        )
        await gateway.create("wakes")
        assert (await written(gateway, 1))[0]["generation"] == 1
        await gateway.quiet()
        assert (await gateway.ask("GET", "s"))[1]["status"] == "active"


async def test_an_event_that_nobody_claims_is_written_again_and_less_and_less_often() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        await written(gateway, 1)
        for number, pause in [(2, 60), (3, 120), (4, 240)]:
            await gateway.quiet()
            gateway.pass_time(pause - 1.0)
            await gateway.quiet()
            assert len(await gateway.read("wakes")) == number - 1
            gateway.pass_time(1.0)
            assert {it["generation"] for it in await written(gateway, number)} == {1}


async def test_a_subscription_does_not_match_its_own_wake_stream() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="**")
        await gateway.create("a", body=b'{"n":1}')
        await written(gateway, 1)
        await gateway.quiet()
        assert list(await gateway.cursors("s")) == ["a"]
        assert len(await gateway.read("wakes")) == 1


async def test_a_wake_stream_that_others_match_wakes_them_from_its_beginning() -> None:
    async with subscribed() as gateway:
        members = {"type": "pull-wake", "pattern": "later", "wake_stream": "later"}
        assert (await gateway.put("first", **members))[0] == 201
        await gateway.pull("s", pattern="later")
        await gateway.create("later", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        (told,) = claimed["streams"]
        assert (told["path"], told["acked_offset"]) == ("later", "-1")


async def test_a_circle_of_wake_streams_is_refused() -> None:
    async with subscribed() as gateway:
        base = {"type": "pull-wake"}
        assert (await gateway.put("a", **base, pattern="x/*", wake_stream="y/1"))[0] == 201
        assert (await gateway.put("b", **base, pattern="y/*", wake_stream="z/1"))[0] == 201
        for members in ({"pattern": "z/*"}, {"streams": ["z/1"]}, {"pattern": "**"}):
            status, told = await gateway.put("c", **base, **members, wake_stream="x/1")
            assert (status, told["error"]["code"]) == (400, "INVALID_REQUEST")
        assert (await gateway.ask("GET", "c"))[0] == 404
        assert (await gateway.put("c", **base, pattern="q", wake_stream="x/1"))[0] == 201
        status, told = await gateway.ask("POST", "c/streams", {"streams": ["z/1", "ok"]})
        assert (status, told["error"]["code"]) == (400, "INVALID_REQUEST")
        assert await gateway.cursors("c") == {}


async def test_concurrent_claims_have_one_winner() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        told = await asyncio.gather(*(gateway.claim(f"w{number}") for number in range(20)))
        assert sorted(status for status, _ in told) == [200] + [409] * 19


async def test_pull_wake_actions_are_refused_for_webhooks_and_callbacks_for_pull_wake() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("hook", at, pattern="events/*")
        await gateway.pull("s", pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        assert (await gateway.claim(name="hook"))[1]["error"]["code"] == "INVALID_REQUEST"
        _, claimed = await gateway.claim()
        assert (await act(gateway, "callback", claimed))[1]["error"]["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize("action", ["ack", "release", "callback"])
async def test_a_request_without_a_token_is_refused(action: str) -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("hook", at, pattern="x")
        await gateway.pull("s", pattern="events/*")
        name = "hook" if action == "callback" else "s"
        status, told = await gateway.ask("POST", f"{name}/{action}", {})
        assert (status, told["error"]["code"]) == (401, "TOKEN_INVALID")


async def test_a_token_expires_after_an_hour_without_its_lease() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*", lease_ttl_ms=600_000)
        await gateway.create("events/a", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        for _ in range(8):  # for longer than an hour, while the lease slides
            gateway.pass_time(590.0)
            assert (await act(gateway, "ack", claimed, acks=False, done=False))[0] == 200
        gateway.pass_time(601.0)
        status, told = await act(gateway, "ack", claimed)
        assert (status, told["error"]["code"]) == (401, "TOKEN_EXPIRED")


async def test_a_token_of_a_deleted_subscription_is_not_valid_for_the_next_with_its_id() -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        await gateway.ask("DELETE", "s")
        assert (await act(gateway, "ack", claimed))[0] == 404
        await gateway.pull("s", pattern="events/*")
        await gateway.append("events/a")
        await gateway.claim()
        assert (await act(gateway, "ack", claimed))[1]["error"]["code"] == "TOKEN_INVALID"


@pytest.mark.parametrize("ack", [{"stream": "events/a"}, {"stream": "events/a", "offset": 3}])
async def test_an_ack_without_a_textual_offset_is_malformed(ack: dict[str, object]) -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        await gateway.create("events/a", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        wake = {"wake_id": claimed["wake_id"], "generation": claimed["generation"]}
        whole = [{"stream": name, "offset": end} for name, end in ends_of(claimed)]
        document = wake | {"acks": [*whole, ack]}
        status, told = await gateway.ask("POST", "s/ack", document, claimed["token"])
        assert (status, told["error"]["code"]) == (400, "INVALID_REQUEST")
        assert (await gateway.cursors("s"))["events/a"] == "-1"
