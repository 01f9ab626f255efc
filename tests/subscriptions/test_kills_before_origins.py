"""A gateway that is killed before its origin loses no wake, and neither does one without origin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from gateway.features.subscriptions.origins.shared_origin import OUTDATED_S
from tests.subscriptions.campaign import Campaign, kills_of
from tests.subscriptions.in_processes import JSON, subscribe, write
from tests.subscriptions.origins import LosingWay
from tests.subscriptions.receivers import Receiver, receiver, stream_of
from tests.subscriptions.test_kills import DURABLE, KILLS, play
from tests.subscriptions.test_several_gateways import TAKE_OVER_S
from tests.support.http1 import ask
from tests.support.origin_servers import own_log, reference
from tests.support.processes import Headgate
from tests.support.redis_groups import ClusterServers
from tests.support.redis_servers import redis_server
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

SEED = 23


@contextlib.asynccontextmanager
async def gateway_before(url: str, place: Path | str) -> AsyncIterator[Headgate]:
    """A started gateway before an origin, which is killed when the block ends.

    Its subscriptions are in a folder, or in a Redis.
    """
    where = place if isinstance(place, str) else f"file:{place / 'subscriptions'}"
    stored = {"HEADGATE_SUBSCRIPTIONS": where}
    gateway = Headgate(url, environment=stored)
    try:
        yield await asyncio.to_thread(gateway.start)
    finally:
        gateway.kill()


async def acknowledged(gateway: Headgate, at: Receiver) -> None:
    """Wait until the first wake is acknowledged, and its cursor is durable."""
    told = stream_of(await at.wake(), "e/a")
    url = f"{gateway.streams}/__ds/subscriptions/s"

    async def has_moved() -> bool:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            (link,) = (await answer.json())["streams"]
        return bool(link["acked_offset"] == told["tail_offset"])

    await until(has_moved, within_s=SERVER_PATIENCE_S)
    # What is stored later is answered once it is durable, and what was stored before is then, too.
    await subscribe(gateway, at, "other", pattern="other")


def reached(port: int, name: str) -> str | None:
    """Return the end of a stream at its origin."""
    return ask(port, "HEAD", f"/v1/stream/{name}").get("Stream-Next-Offset")


async def unanswered(way: LosingWay, gateway: Headgate, method: str) -> asyncio.Task[int | None]:
    """Write to the stream, and return the request once the origin has it; its answer is lost."""
    old = await asyncio.to_thread(reached, way.target, "e/a")
    way.loses = method
    writing = asyncio.create_task(write(gateway, method, "e/a"))

    async def has_grown() -> bool:
        return await asyncio.to_thread(reached, way.target, "e/a") != old

    await until(has_grown, within_s=SERVER_PATIENCE_S)
    return writing


@pytest.mark.smoke
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_kill_between_the_answer_of_the_origin_and_the_note_of_it_loses_no_wake(
    method: str, tmp_path: Path
) -> None:
    with own_log() as origin:
        async with (
            LosingWay(origin.port) as way,
            receiver(answer={"done": True}) as at,
            gateway_before(way.url, tmp_path) as gateway,
        ):
            await subscribe(gateway, at, pattern="e/*")
            if method == "POST":
                await write(gateway, "PUT", "e/a")
                await acknowledged(gateway, at)
            old = await asyncio.to_thread(reached, origin.port, "e/a")
            writing = await unanswered(way, gateway, method)
            gateway.kill()
            await writing
            way.mend()
            count = len(at.wakes)
            await asyncio.to_thread(gateway.start)
            wake = await at.wake(count + 1)
            told = stream_of(wake, "e/a")
            assert told["acked_offset"] == (old or "-1")
            assert told["tail_offset"] == await asyncio.to_thread(reached, origin.port, "e/a")


async def test_a_gateway_starts_without_its_origin_and_compares_once_that_is_there(
    tmp_path: Path,
) -> None:
    with reference(tmp_path / "data") as origin:
        async with (
            receiver(answer={"done": True}) as at,
            gateway_before(origin.url, tmp_path) as gateway,
        ):
            await subscribe(gateway, at, pattern="e/*")
            await write(gateway, "PUT", "e/a")
            await acknowledged(gateway, at)
            gateway.kill()
            made = await asyncio.to_thread(
                ask, origin.port, "POST", "/v1/stream/e/a", b"[2]", **JSON
            )
            assert made.status == 204
            origin.kill()
            await asyncio.to_thread(gateway.start)
            url = f"{gateway.streams}/__ds/subscriptions/s"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                assert [it["path"] for it in (await answer.json())["streams"]] == ["e/a"]
            assert len(at.wakes) == 1
            await asyncio.to_thread(origin.start)
            told = stream_of(await at.wake(2), "e/a")
            assert told["tail_offset"] == made.next_offset


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_kill_between_the_answer_of_the_origin_and_the_report_of_it_loses_no_wake(
    method: str, redis_url: str
) -> None:
    with own_log() as origin:
        async with (
            LosingWay(origin.port) as way,
            receiver(answer={"done": True}) as at,
            gateway_before(origin.url, redis_url) as owner,
            gateway_before(way.url, redis_url) as other,
        ):
            await subscribe(other, at, pattern="e/*")
            if method == "POST":
                await write(other, "PUT", "e/a")
                await acknowledged(other, at)
            old = await asyncio.to_thread(reached, origin.port, "e/a")
            writing = await unanswered(way, other, method)
            count = len(at.wakes)
            other.kill()
            await writing
            told = stream_of(await at.wake(count + 1), "e/a")
            assert told["acked_offset"] == (old or "-1")
            assert told["tail_offset"] == await asyncio.to_thread(reached, origin.port, "e/a")
            assert owner.process is not None


@pytest.mark.parametrize("is_cluster", [False, True], ids=["redis", "cluster"])
async def test_another_gateway_takes_over_within_seconds_from_one_that_was_killed(
    tmp_path: Path, *, is_cluster: bool
) -> None:
    servers = ClusterServers(tmp_path) if is_cluster else redis_server(tmp_path)
    with servers as redis, own_log() as origin:
        async with (
            receiver(answer={"done": True}) as at,
            gateway_before(origin.url, redis.url) as first,
            gateway_before(origin.url, redis.url) as other,
        ):
            await subscribe(first, at, pattern="e/*")
            await write(other, "PUT", "e/a")
            await acknowledged(other, at)
            first.kill()
            began = time.monotonic()
            await write(other, "POST", "e/a")
            await at.wake(2)
            await write(other, "PUT", "e/b")
            assert stream_of(await at.wake(3), "e/b")["has_pending"]
            assert time.monotonic() - began < TAKE_OVER_S


async def test_a_frozen_gateway_delays_a_new_subscription_until_it_counts_as_stopped(
    redis_url: str,
) -> None:
    with own_log() as origin:
        async with (
            receiver(answer={"done": True}) as at,
            gateway_before(origin.url, redis_url) as owner,
            gateway_before(origin.url, redis_url) as other,
        ):
            await write(other, "PUT", "e/a")  # nobody waits for it
            assert other.process is not None
            other.process.send_signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                await subscribe(owner, at, pattern="e/*")
                assert time.monotonic() - began < OUTDATED_S + 2.0
            finally:
                other.process.send_signal(signal.SIGCONT)
            await write(other, "POST", "e/a")
            told = stream_of(await at.wake(), "e/a")
            assert told["tail_offset"] == await asyncio.to_thread(reached, origin.port, "e/a")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("is_cluster", [False, True], ids=["redis", "cluster"])
def test_every_append_is_acknowledged_though_two_gateways_their_origin_and_redis_are_killed(
    tmp_path: Path, *, is_cluster: bool
) -> None:
    place = tmp_path / "redis"
    stores = (
        ClusterServers(place, options=DURABLE) if is_cluster else redis_server(place, **DURABLE)
    )
    with own_log(f"file:{tmp_path / 'streams'}") as origin, stores as redis:
        nodes = redis.nodes if isinstance(redis, ClusterServers) else [redis]
        stored = {"HEADGATE_SUBSCRIPTIONS": redis.url}
        servers = [Headgate(origin.url, environment=stored) for _ in range(2)]
        play(Campaign(servers, SEED, [kills_of(origin), kills_of(*nodes)]), KILLS)
        assert json.loads(ask(origin.port, "GET", "/v1/stream/wakes").body)


@pytest.mark.timeout(1800)
def test_every_append_is_acknowledged_though_the_gateway_and_its_origin_are_killed(
    tmp_path: Path,
) -> None:
    with own_log(f"file:{tmp_path / 'streams'}") as origin:
        stored = {"HEADGATE_SUBSCRIPTIONS": f"file:{tmp_path / 'subscriptions'}"}
        server = Headgate(origin.url, environment=stored)
        play(Campaign([server], SEED, [kills_of(origin)]), KILLS)
        assert json.loads(ask(origin.port, "GET", "/v1/stream/wakes").body)
