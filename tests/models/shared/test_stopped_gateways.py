"""Gateways that stop in the middle of an answer: killed, paused, or without their Redis."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from headgate.shielding import shielded
from tests.models.provider import providing
from tests.models.shared.gateways import (
    BEGUN,
    EVENTS,
    MESSAGE,
    MOST_S,
    STOPPED,
    ask,
    events_from,
    held_gateways,
    message,
    read_to,
    status,
    two_gateways,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.processes import Headgate
    from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.usefixtures("processes")


async def live_body(http: aiohttp.ClientSession, url: str) -> bytes:
    """Return what a reader of the stream gets until it is closed."""
    body, params = b"", {"offset": "-1", "live": "long-poll"}
    while True:
        async with http.get(url, params=params) as read:
            body += await read.read()
            params["offset"] = read.headers["Stream-Next-Offset"]
            if read.headers.get("Stream-Closed") == "true":
                return body


async def record_of(http: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    async with http.get(f"{url}/record", params={"offset": "-1"}) as read:
        entries: list[dict[str, Any]] = json.loads(await read.read())
        return entries


async def counted(http: aiohttp.ClientSession, gateway: Headgate, name: str) -> float:
    """Return the value of a counter of the route for OpenAI."""
    async with http.get(f"{gateway.admin_url}/metrics") as metrics:
        (line,) = [
            it for it in (await metrics.text()).splitlines() if it.startswith(f'{name}{{route="/op')
        ]
    return float(line.rpartition(" ")[2])


@pytest.fixture
async def slow_http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


async def test_every_reader_hears_why_an_answer_ends_when_its_gateway_is_killed(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one) as answer:
            begun = await events_from(answer, 3)
            url = answer.headers["Stream-URL"].replace(one.url, other.url)
            async with ask(http, other) as joined:
                begun_there = await read_to(joined, begun)
                plain = asyncio.create_task(live_body(http, url))
                one.kill()
                killed_at = time.monotonic()
                body = message(begun_there + await joined.read())
                assert time.monotonic() - killed_at < MOST_S
            assert body == (BEGUN, STOPPED)
            assert message(await plain) == body
            assert time.monotonic() - killed_at < MOST_S
        async with ask(http, other) as again:
            assert message(await again.read()) == body
        ends = [it for it in await record_of(http, url) if it["entry"] == "end"]
        assert [it["outcome"] for it in ends] == ["failed"]
    assert len(provider.requests) == 1


async def tokens_of(http: aiohttp.ClientSession, gateway: Headgate) -> list[float]:
    """The tokens that a gateway has counted, of the request before those of the answer."""
    async with http.get(f"{gateway.admin_url}/metrics") as metrics:
        lines = (await metrics.text()).splitlines()
    found = [it for it in lines if it.startswith("headgate_model_tokens_total{")]
    return [float(it.rpartition(" ")[2]) for it in found]


@pytest.mark.parametrize("cause", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "paused"])
async def test_an_answer_that_has_its_last_event_is_complete_when_its_gateway_stands_still(
    cause: signal.Signals, slow_http: aiohttp.ClientSession, origin: str
) -> None:
    """Its tokens are counted once, by the gateway that records them."""
    http = slow_http
    async with providing() as provider:
        provider.lingers = asyncio.Event()
        with two_gateways(provider, origin) as (one, other):
            assert one.process is not None
            async with ask(http, one) as answer:
                begun = await events_from(answer, len(EVENTS) - 1)
                while b"[DONE]" not in begun:
                    begun += await answer.content.readany()
                url = answer.headers["Stream-URL"].replace(one.url, other.url)
                async with ask(http, other) as joined:
                    one.process.send_signal(cause)
                    assert message(await joined.read()) == MESSAGE
            (end,) = [it for it in await record_of(http, url) if it["entry"] == "end"]
            assert end["outcome"] == "complete"
            assert end["usage"] == {"input_tokens": 9, "output_tokens": 12}
            assert await tokens_of(http, other) == [9, 12]
            if cause == signal.SIGSTOP:
                one.process.send_signal(signal.SIGCONT)
                while await counted(http, one, "headgate_model_answers_running"):
                    await asyncio.sleep(0.1)
                assert await tokens_of(http, one) == []
                assert await counted(http, other, "headgate_model_answers_running") == 0


async def test_those_who_wait_for_the_head_get_an_error_when_the_gateway_is_killed(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        provider.hold_heads()
        with two_gateways(provider, origin) as (one, other):
            first = asyncio.create_task(status(http, one))
            await until(lambda: len(provider.requests) == 1)
            second = asyncio.create_task(status(http, other))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(shielded(second), 0.3)
            one.kill()
            with pytest.raises(aiohttp.ClientError):
                await first
            async with asyncio.timeout(MOST_S):
                assert (await second)[0] == 502
            provider.allow_heads()
            async with ask(http, other) as again:
                assert message(await again.read()) == MESSAGE


async def test_the_next_answer_of_a_chat_begins_at_another_gateway_once_one_was_killed(
    http: aiohttp.ClientSession, origin: str
) -> None:
    chat = {"Headgate_Stream": "chat-1"}
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one, "a", **chat) as answer:
            await events_from(answer, 3)
            url = answer.headers["Stream-URL"].replace(one.url, other.url)
            one.kill()
        async with asyncio.timeout(MOST_S):
            while True:
                async with ask(http, other, "b", **chat) as next_answer:
                    if next_answer.status == 409:
                        continue
                    provider.allow()
                    assert message(await next_answer.read()) == MESSAGE
                    break
        async with ask(http, other, "a", **chat) as earlier:
            assert message(await earlier.read()) == (BEGUN, STOPPED)
        ends = [it for it in await record_of(http, url) if it["entry"] == "end"]
        assert [it["outcome"] for it in ends] == ["failed", "complete"]


@pytest.mark.parametrize("chat", [{}, {"Headgate_Stream": "chat-1"}], ids=["alone", "in a chat"])
async def test_a_gateway_that_was_paused_for_too_long_does_not_write_on(
    http: aiohttp.ClientSession, origin: str, chat: dict[str, str]
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one, "a", **chat) as answer:
            begun = await events_from(answer, 3)
            url = answer.headers["Stream-URL"].replace(one.url, other.url)
            assert one.process is not None
            one.process.send_signal(signal.SIGSTOP)
            async with ask(http, other, "a", **chat) as joined:
                body = message(await joined.read())
            assert body == (BEGUN, STOPPED)
            provider.allow()
            one.process.send_signal(signal.SIGCONT)
            assert message(begun + await answer.read()) == body
        assert "answer.taken" in one.output()
        async with ask(http, one, "a", **chat) as again:
            assert message(await again.read()) == body
        async with http.get(url, params={"offset": "-1"}) as read:
            stored = await read.read()
            assert message(stored.partition(b"event: headgate.end")[0]) == body
        ends = [it for it in await record_of(http, url) if it["entry"] == "end"]
        assert [it["outcome"] for it in ends] == ["failed"]
        async with ask(http, one, "b", **chat) as next_answer:
            assert message(await next_answer.read()) == MESSAGE


async def test_a_paused_gateway_hears_that_its_answer_was_ended_while_its_provider_is_silent(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one) as answer:
            begun = await events_from(answer, 3)
            assert one.process is not None
            one.process.send_signal(signal.SIGSTOP)
            async with ask(http, other) as joined:
                body = message(await joined.read())
            one.process.send_signal(signal.SIGCONT)
            assert message(begun + await answer.read()) == body
        async with asyncio.timeout(5):
            await provider.has_left.wait()


async def test_readers_of_a_paused_gateway_hear_the_end_in_the_log_though_its_own_is_as_long(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        provider.hold()
        provider.allow(3)
        # Once it goes on, the provider has been silent for too long. The event that says so has as
        # many bytes as the one by which the other gateway has ended the answer.
        with two_gateways(provider, origin, {"read_timeout": 2.5}) as (one, other):
            async with ask(http, one) as answer:
                begun = await events_from(answer, 3)
                assert one.process is not None
                one.process.send_signal(signal.SIGSTOP)
                async with ask(http, other) as joined:
                    assert message(await joined.read()) == (BEGUN, STOPPED)
                one.process.send_signal(signal.SIGCONT)
                assert message(begun + await answer.read()) == (BEGUN, STOPPED)


async def test_a_short_pause_of_the_gateway_ends_no_answer(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with (
        held_gateways(origin) as (provider, one, other),
        ask(http, one) as answer,
        ask(http, other) as joined,
    ):
        begun = await events_from(answer, 3)
        begun_there = await read_to(joined, begun)
        assert one.process is not None
        one.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.0)
        one.process.send_signal(signal.SIGCONT)
        provider.allow()
        assert message(begun_there + await joined.read()) == MESSAGE
        assert message(begun + await answer.read()) == MESSAGE


async def test_an_answer_goes_on_after_a_short_outage_of_redis(
    slow_http: aiohttp.ClientSession, origin: str, redis: RedisServer
) -> None:
    async with (
        held_gateways(origin) as (provider, one, other),
        ask(slow_http, one) as answer,
        ask(slow_http, other) as joined,
    ):
        begun = await events_from(answer, 3)
        begun_there = await read_to(joined, begun)
        redis.pause()
        try:
            provider.allow()
            await asyncio.sleep(2.0)
        finally:
            redis.resume()
        assert message(begun_there + await joined.read()) == MESSAGE
        assert message(begun + await answer.read()) == MESSAGE


async def test_an_answer_ends_with_the_reason_after_a_long_outage_of_redis(
    slow_http: aiohttp.ClientSession, origin: str, redis: RedisServer
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(slow_http, one) as answer, ask(slow_http, other) as joined:
            begun = await events_from(answer, 3)
            begun_there = await read_to(joined, begun)
            redis.pause()
            try:
                provider.allow(2)
                # The append gives up after six seconds, and the answer with it.
                await until(lambda: "answer.not_closed" in one.output(), within_s=30)
            finally:
                redis.resume()
            body = message(begun_there + await joined.read())
            assert body[1] == STOPPED
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        async with ask(slow_http, one) as again:
            assert message(await again.read()) == body


async def test_a_new_gateway_ends_the_answers_of_a_killed_one(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (_provider, one, other):
        async with ask(http, one) as answer:
            await events_from(answer, 3)
            url = answer.headers["Stream-URL"]
            other.kill()
            one.kill()
        one.start()
        plain = asyncio.create_task(live_body(http, url))
        async with asyncio.timeout(MOST_S):
            assert message(await plain) == (BEGUN, STOPPED)
