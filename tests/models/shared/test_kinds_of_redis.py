"""Answers in a cluster, under Sentinel, in a Redis that restarts, and of several workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.models.provider import providing
from tests.models.serving import gateway_before
from tests.models.shared.gateways import (
    BEGUN,
    KEY,
    MESSAGE,
    MOST_S,
    RESPONSES,
    STOPPED,
    ask,
    events_from,
    message,
    read_to,
    two_gateways,
)
from tests.support.redis_groups import ClusterServers, SentinelGroup
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
async def patient() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=45)) as session:
        yield session


async def once_answered(http: aiohttp.ClientSession, gateway: Headgate) -> object:
    """Return the message for the key, once the log answers again."""
    while True:
        async with ask(http, gateway) as answer:
            if answer.status == 200:
                return message(await answer.read())
            assert answer.status == 503
        await asyncio.sleep(0.1)


async def test_answers_in_a_cluster_are_joined_stopped_and_ended_at_other_gateways(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with providing() as provider:
        with ClusterServers(tmp_path) as cluster, two_gateways(provider, cluster.url) as both:
            one, other = both
            for number in range(8):  # the streams of each are on other nodes
                key = f"key-{number}"
                async with ask(http, one, key) as first, ask(http, other, key) as second:
                    assert message(await first.read()) == message(await second.read()) == MESSAGE
            assert len(provider.requests) == 8
            provider.hold()
            provider.allow(6)
            async with ask(http, one, "a", path=RESPONSES) as answer:
                await events_from(answer, 3)
                url = f"{other.url}{RESPONSES}/resp_1/cancel"
                async with http.post(url, headers=KEY) as cancelled:
                    assert (await cancelled.json())["status"] == "cancelled"
                await answer.read()
            provider.allow(6)
            async with ask(http, one, "b") as answer, ask(http, other, "b") as joined:
                begun = await read_to(joined, await events_from(answer, 3))
                one.kill()
                async with asyncio.timeout(MOST_S):
                    assert message(begun + await joined.read())[1] == STOPPED


async def test_an_answer_goes_on_when_its_redis_restarts_with_what_it_has_on_disk(
    patient: aiohttp.ClientSession, tmp_path: Path
) -> None:
    disk = {"appendonly": "yes", "appendfsync": "always"}
    async with providing() as provider:
        provider.hold()
        provider.allow(3)
        with redis_server(tmp_path, **disk) as redis, two_gateways(provider, redis.url) as both:
            one, other = both
            async with ask(patient, one) as answer, ask(patient, other) as joined:
                begun = await events_from(answer, 3)
                begun_there = await read_to(joined, begun)
                await asyncio.to_thread(redis.restart)
                provider.allow()
                assert message(begun + await answer.read()) == MESSAGE
                assert message(begun_there + await joined.read()) == MESSAGE
            assert await once_answered(patient, other) == MESSAGE
        assert len(provider.requests) == 1


async def test_an_answer_ends_for_all_readers_when_its_redis_has_lost_it(
    patient: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with providing() as provider:
        provider.hold()
        provider.allow(3)
        with redis_server(tmp_path) as redis, two_gateways(provider, redis.url) as both:
            one, other = both
            async with ask(patient, one) as answer, ask(patient, other) as joined:
                await read_to(joined, await events_from(answer, 3))
                await asyncio.to_thread(redis.restart)  # with nothing on disk
                provider.allow()
                for response in (answer, joined):
                    try:
                        rest = await response.read()
                    except aiohttp.ClientError:
                        continue
                    assert b"[DONE]" not in rest
            assert await once_answered(patient, other) == MESSAGE
        assert len(provider.requests) == 2


async def test_an_answer_ends_or_goes_on_after_a_failover_that_has_lost_a_part_of_it(
    patient: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with providing() as provider:
        provider.hold()
        provider.allow(3)
        with SentinelGroup(tmp_path) as group, two_gateways(provider, group.url) as both:
            one, other = both
            async with ask(patient, one) as answer, ask(patient, other) as joined:
                begun = await events_from(answer, 3)
                await read_to(joined, begun)
                await asyncio.to_thread(group.cut_replication)
                provider.allow(2)
                lost_events = await events_from(answer, 2)  # acknowledged, and lost
                lost = await asyncio.to_thread(group.primary)
                lost.kill()
                await asyncio.to_thread(group.mend_replication)
                await asyncio.to_thread(group.await_failover, lost)
                provider.allow()
                for response in (answer, joined):
                    try:
                        rest = await response.read()
                    except aiohttp.ClientError:
                        continue
                    assert b"[DONE]" not in lost_events + rest
            ended = await once_answered(patient, other)
            assert await once_answered(patient, one) == ended
            assert isinstance(ended, tuple)
            assert ended[1] is not None  # it says that it is not complete
        assert len(provider.requests) == 1


async def test_workers_of_one_port_join_each_others_answers(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        environment = {"HEADGATE_WORKERS": "2"}
        with gateway_before(provider, origin=origin, environment=environment) as gateway:
            for number in range(10):
                key = f"key-{number}"

                async def read(key: str = key) -> object:
                    connector = aiohttp.TCPConnector(force_close=True)
                    async with (
                        aiohttp.ClientSession(connector=connector) as session,
                        ask(session, gateway, key) as answer,
                    ):
                        return message(await answer.read())

                assert await asyncio.gather(*(read() for _ in range(4))) == [MESSAGE] * 4
        assert len(provider.requests) == 10


async def test_a_gateway_that_stops_in_order_ends_its_answers_for_those_at_another(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with providing() as provider:
        provider.hold()
        provider.allow(3)
        environment = {"HEADGATE_SHUTDOWN__GRACE": "0.5"}
        with (
            gateway_before(provider, origin=origin, environment=environment) as one,
            gateway_before(provider, origin=origin) as other,
        ):
            async with ask(http, one) as answer, ask(http, other) as joined:
                begun = await read_to(joined, await events_from(answer, 3))
                stopping = asyncio.create_task(asyncio.to_thread(one.terminate))
                assert message(begun + await joined.read()) == (BEGUN, STOPPED)
                assert await stopping == 0
            await until(provider.has_left.is_set)
