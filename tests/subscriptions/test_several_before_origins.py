"""Several gateways before one origin: any of them is written through, and one delivers."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.errors import LogUnavailable
from gateway.features.subscriptions.origins import origin_streams, settled_names
from gateway.features.subscriptions.origins.shared_origin import (
    OwnedOriginSubscriptions,
    SharedOriginSubscriptions,
)
from gateway.features.subscriptions.shared.mail import WriteReport, merge_notes
from tests.logs.test_redis_rights import documented
from tests.subscriptions.origins import LosingWay, before, two_before, woken
from tests.subscriptions.receivers import ends_of, receiver, shared, stream_of
from tests.subscriptions.test_kills import DURABLE
from tests.subscriptions.test_several_gateways import TAKE_OVER_S
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.serving import serving
from tests.support.waiting import until
from tests.support.web_servers import web_server

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.features.subscriptions.shared.mail import StreamNote

DONE = {"done": True}


async def test_what_is_written_through_either_gateway_wakes_by_the_one_that_delivers(
    redis_url: str,
) -> None:
    async with woken(redis_url) as (owner, other, at):
        await other.webhook("s", at, pattern="e/**")
        for number, gateway in enumerate((owner, other) * 2, 1):
            tail = (await gateway.create(f"e/{number}", body=b'{"n":1}')).next_offset
            assert stream_of(await at.wake(number), f"e/{number}")["tail_offset"] == tail
            await owner.quiet()
        for number, gateway in enumerate((owner, other), 5):
            tail = (await gateway.append("e/1")).next_offset
            assert stream_of(await at.wake(number), "e/1")["tail_offset"] == tail
            await owner.quiet()
        await other.create("elsewhere", body=b'{"n":1}')
        assert "elsewhere" not in owner.engine.membership.streams
        assert await other.cursors("s") == await owner.cursors("s")


@pytest.mark.parametrize("body", [b"", b"[ ]"])
async def test_an_empty_creation_through_another_gateway_wakes_nobody_and_an_append_does(
    body: bytes, redis_url: str
) -> None:
    async with woken(redis_url) as (owner, other, at):
        await owner.webhook("s", at, pattern="e/*")
        await other.create("e/a", body=body)
        assert await owner.cursors("s") == {"e/a": "-1"}
        assert not owner.engine.by_id["s"].pending
        tail = (await other.append("e/a")).next_offset
        assert ends_of(await at.wake()) == [("e/a", tail)]
        await owner.quiet()
        assert len(at.wakes) == 1


async def test_a_stream_of_before_is_linked_at_its_tail_by_a_write_through_another_gateway(
    redis_url: str,
) -> None:
    async with woken(redis_url) as (owner, other, at):
        old = (await owner.around("PUT", "e/a", b'{"old":1}')).next_offset
        await owner.webhook("s", at, pattern="e/*")
        await other.append("e/a")
        assert stream_of(await at.wake(), "e/a")["acked_offset"] == old


async def test_a_name_is_asked_for_once_and_again_when_there_is_another_subscription(
    redis_url: str,
) -> None:
    async with woken(redis_url) as (owner, other, at):
        counts = shared(other).relay.counts
        await other.create("e/a", body=b'{"n":1}')
        await other.create("e/b", body=b'{"n":1}')
        assert counts["sent"] == 1  # nobody waits for anything
        await owner.webhook("s", at, pattern="e/*")
        old = (await other.append("e/a")).next_offset
        assert stream_of(await at.wake(), "e/a")["tail_offset"] == old
        await other.append("e/a")
        await other.append("f")
        await other.append("f")
        assert counts["sent"] == 3
        await owner.webhook("t", at, streams=["f"])
        await other.create("f", body=b'{"n":1}')
        await until(lambda: any(it["subscription_id"] == "t" for it in at.wakes))
        assert counts["sent"] == 4


async def test_a_first_write_to_a_stream_that_nobody_waits_for_needs_no_head_of_the_origin(
    redis_url: str,
) -> None:
    async def answer(call: web.Request) -> web.Response:
        if call.method == "HEAD":
            return web.Response(status=503)
        return web.Response(status=201, headers={"Stream-Next-Offset": "1"})

    async with (
        web_server(answer) as origin,
        two_before(redis_url, origin) as (owner, other),
        receiver() as at,
    ):
        await owner.webhook("s", at, pattern="e/*")
        for gateway in (owner, other):
            for name, status in (("e/a", 503), ("elsewhere", 201)):
                assert (await gateway.through("PUT", name, b"[1]")).status == status


@pytest.mark.parametrize("is_owner", [True, False], ids=["owner", "other"])
async def test_a_stream_whose_head_fails_delays_no_first_write_to_another(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, *, is_owner: bool
) -> None:
    async def answer(call: web.Request) -> web.Response:
        return web.Response(status=503 if call.path.endswith("/bad") else 404)

    monkeypatch.setattr(settled_names, "MOST_QUESTIONS", 1)  # the last two are asked for together
    async with (
        web_server(answer) as origin,
        two_before(redis_url, origin) as (owner, other),
        receiver() as at,
    ):
        await owner.webhook("s", at, pattern="e/*")
        subscriptions = shared(owner if is_owner else other)
        assert isinstance(subscriptions, SharedOriginSubscriptions)
        names = subscriptions.names
        waiting = [names.settle(name) for name in ("e/a", "e/bad", "e/b")]
        first, bad, second = await asyncio.gather(*waiting, return_exceptions=True)
        assert (first, second) == (None, None)
        assert isinstance(bad, LogUnavailable)
        assert {"e/a", "e/b"} == {*await owner.cursors("s")}


@pytest.mark.parametrize("is_owner", [True, False], ids=["owner", "other"])
async def test_a_stream_that_is_created_again_through_another_gateway_begins_a_new_cursor(
    redis_url: str, *, is_owner: bool
) -> None:
    async with woken(redis_url) as (owner, other, at):
        await owner.webhook("s", at, pattern="e/*")
        await other.create("e/a", body=b'{"n":1}')
        await at.wake()
        await owner.quiet()
        await (owner if is_owner else other).delete("e/a")
        await until(lambda: not owner.engine.by_id["s"].links)
        tail = (await other.create("e/a", body=b'{"n":2}')).next_offset
        again = stream_of(await at.wake(2), "e/a")
        assert (again["recreated"], again["acked_offset"]) == (True, "-1")
        assert again["tail_offset"] == tail


async def test_a_write_that_was_not_reported_is_found_by_a_comparison(redis_url: str) -> None:
    async with (
        serving() as origin,
        two_before(redis_url, origin) as (owner, other),
        receiver(answer=DONE) as at,
    ):
        await owner.webhook("s", at, pattern="e/*")
        await other.create("e/old", body=b'{"n":1}')
        await at.wake()
        await owner.quiet()
        await shared(other).changed.stop()  # as if it were killed behind the origin's answers
        tails = {}
        for name, method in {"e/old": "POST", "e/new": "PUT"}.items():
            tails[name] = (await other.through(method, name, b'{"n":1}')).next_offset
        shared(owner).comparisons.schedule()

        async def are_found() -> bool:
            return await owner.cursors("s") == tails

        await until(are_found)
        shared(other).changed.start()


async def test_a_wake_stream_that_is_created_through_another_gateway_gets_the_event_at_once(
    redis_url: str,
) -> None:
    async with serving() as origin, two_before(redis_url, origin) as (owner, other):
        members = {"type": "pull-wake", "pattern": "e/*", "wake_stream": "wakes"}
        assert (await other.put("s", **members))[0] == 201
        await other.create("e/a", body=b'{"n":1}')
        await owner.quiet()
        assert "wake stream wakes" in (await other.ask("GET", "s"))[1]["last_error"]
        await other.create("wakes")
        await until(lambda: owner.engine.by_id["s"].delivery.last_error is None)
        assert [it["stream"] for it in await other.read("wakes")] == ["e/a"]


async def test_a_claim_through_another_gateway_finds_what_was_appended_there_just_before(
    redis_url: str,
) -> None:
    async with serving() as origin, two_before(redis_url, origin) as (owner, other):
        await owner.pull("s", pattern="e/*")
        tail = (await other.create("e/a", body=b'{"n":1}')).next_offset
        status, claimed = await other.claim()
        assert (status, ends_of(claimed)) == (200, [("e/a", tail)])


async def test_a_read_through_another_gateway_shows_what_was_appended_around_it(
    redis_url: str,
) -> None:
    async with woken(redis_url) as (owner, other, at):
        await owner.webhook("s", at, streams=["a"])
        await owner.create("a")
        await owner.around("POST", "a", b'{"n":1}')
        await until(lambda: shared(other).changed.is_active)
        assert await other.read("a") == [{"n": 1}]
        assert stream_of(await at.wake(), "a")["has_pending"]


async def test_a_gateway_that_stops_is_followed_at_once_by_another_with_all_links(
    redis_url: str,
) -> None:
    async with serving() as origin, receiver() as at, before(origin, redis_url) as owner:
        await owner.webhook("s", at, pattern="e/*")
        async with before(origin, redis_url) as other:
            await owner.create("e/a", body=b'{"n":1}')
            wake = await at.wake()
            await shared(owner).close()
            await until(lambda: shared(other).engine is not None)
            assert (await other.callback(wake, *ends_of(wake)))[0] == 200
            tail = (await other.append("e/a")).next_offset
            assert ends_of(await at.wake(2)) == [("e/a", tail)]
            await shared(owner).open()  # closed by the block


CREATED = WriteReport("2", created=7)
EMPTY = WriteReport("1", created=7, beginning="1")
GROWN = WriteReport("4", closed=True)
DELETED = WriteReport(is_deleted=True)
UNSURE = WriteReport(is_unsure=True)


@pytest.mark.parametrize(
    ("earlier", "later", "both"),
    [
        pytest.param(
            CREATED, GROWN, WriteReport("4", closed=True, created=7), id="created-and-appended"
        ),
        pytest.param(
            EMPTY,
            GROWN,
            WriteReport("4", closed=True, created=7, beginning="1"),
            id="created-empty-and-appended",
        ),
        pytest.param(GROWN, WriteReport("3"), GROWN, id="an-older-append"),
        pytest.param(GROWN, CREATED, CREATED, id="created-again"),
        pytest.param(CREATED, DELETED, DELETED, id="created-and-deleted"),
        pytest.param(DELETED, CREATED, CREATED, id="deleted-and-created"),
        pytest.param(
            CREATED,
            UNSURE,
            WriteReport("2", created=7, is_unsure=True),
            id="created-and-an-append-without-answer",
        ),
        pytest.param(False, True, True, id="new"),
        pytest.param(True, False, True, id="new-and-changed"),
        pytest.param(None, False, False, id="changed"),
    ],
)
def test_reports_of_one_stream_are_merged_into_what_holds_after_both(
    earlier: StreamNote | None, later: StreamNote, both: StreamNote
) -> None:
    assert merge_notes(earlier, later) == both


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, id="-".join(map(str, order)))
        for order in itertools.permutations(range(4))
    ],
)
async def test_reports_in_any_order_end_with_the_stream_that_the_origin_has(
    order: tuple[int, ...], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin_streams, "PERSISTS_S", 0.05)
    async with (
        serving() as origin,
        before(origin, redis_url) as owner,
        receiver(answer=DONE) as at,
    ):
        engine = owner.engine
        assert isinstance(engine, OwnedOriginSubscriptions)
        await owner.webhook("s", at, pattern="e/*")
        await engine.before_write(f"{owner.prefix}/e/a", creates_empty=False)
        old = (await owner.around("PUT", "e/a", b'{"n":1}')).next_offset
        await owner.around("DELETE", "e/a")
        new = (await owner.around("PUT", "e/a", b'{"n":2}')).next_offset
        tail = (await owner.around("POST", "e/a", b'{"n":3}')).next_offset
        reports = [
            WriteReport(old, created=1),
            WriteReport(is_deleted=True),
            WriteReport(new, created=2),
            WriteReport(tail),
        ]
        for number in order:
            await engine.apply_notes({"e/a": reports[number]})

        async def is_acknowledged() -> bool:
            return await owner.cursors("s") == {"e/a": tail}

        await until(is_acknowledged)
        await owner.quiet()
        assert not engine.by_id["s"].pending


# Without a Redis, or with less of it


@pytest.mark.usefixtures("processes")
async def test_writes_to_new_streams_are_refused_while_redis_is_away_and_others_pass(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path, **DURABLE) as redis:
        async with (
            serving() as origin,
            two_before(redis.url, origin) as gateways,
            receiver(answer=DONE) as at,
        ):
            owner, other = gateways
            await owner.webhook("s", at, pattern="e/*")
            for gateway in gateways:
                assert (await gateway.create("e/a", body=b'{"n":1}')).status in {200, 201}
            await owner.quiet()
            redis.stop()
            for gateway in gateways:
                answer = await gateway.through("PUT", "e/new", b"[1]")
                assert answer.status == 503
                assert answer.get("Retry-After")
                assert (await owner.around("GET", "e/new")).status == 404
            tail = (await other.through("POST", "e/a", b'{"n":2}')).next_offset
            assert tail
            assert (await owner.through("GET", "e/a")).status == 200
            redis.start()

            async def is_acknowledged() -> bool:
                for gateway in gateways:
                    if shared(gateway).engine is not None:
                        return (await gateway.cursors("s")).get("e/a") == tail
                return False

            await until(is_acknowledged, within_s=TAKE_OVER_S)


async def test_what_is_written_through_a_gateway_that_has_lost_redis_wakes_a_new_subscription(
    redis: RedisServer, redis_url: str
) -> None:
    async with (
        LosingWay(redis.port) as way,
        serving() as origin,
        before(origin, redis_url) as owner,
        before(origin, redis_url.replace(f":{redis.port}", f":{way.port}")) as other,
        receiver(answer=DONE) as at,
    ):
        await other.create("e/a", body=b'{"n":1}')  # nobody waits for it
        way.cut()
        await owner.webhook("s", at, pattern="e/*")
        tail = (await other.through("POST", "e/a", b'{"n":2}')).next_offset
        assert tail
        way.mend()
        assert ends_of(await at.wake()) == [("e/a", tail)]


@pytest.mark.usefixtures("processes")
async def test_a_gateway_starts_without_its_redis_and_delivers_once_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.features.subscriptions.shared.subscriptions.PATIENCE_S", 1.0)
    server = RedisServer(tmp_path)
    async with (
        serving() as origin,
        before(origin, server.url) as gateway,
        receiver(answer=DONE) as at,
    ):
        await gateway.around("PUT", "a", b'{"n":1}')
        assert (await gateway.read("a")) == [{"n": 1}]
        assert (await gateway.ask("GET", "s"))[0] == 503
        assert (await gateway.through("PUT", "e/a", b"[1]")).status == 503
        (note,) = gateway.gateway.edge.features["subscriptions"].notes().values()
        assert note
        server.start()
        try:
            await until(lambda: shared(gateway).engine is not None, within_s=TAKE_OVER_S)
            await gateway.webhook("s", at, pattern="e/*")
            tail = (await gateway.create("e/a", body=b'{"n":1}')).next_offset
            assert ends_of(await at.wake()) == [("e/a", tail)]
        finally:
            server.stop()


async def test_the_documented_rights_suffice_for_subscriptions_before_an_origin(
    redis: RedisServer,
) -> None:
    rights = [rule.replace("headgate:", "own:") for rule in documented()]
    redis.command("ACL", "SETUSER", "app", "on", ">pw", *rights, "+zrangebylex")
    url = f"redis://app:pw@{redis.address}?prefix=own"
    async with (
        serving() as origin,
        two_before(url, origin) as (owner, other),
        receiver(answer=DONE) as at,
    ):
        await other.webhook("s", at, pattern="e/*")
        tail = (await other.create("e/a", body=b'{"n":1}')).next_offset
        assert ends_of(await at.wake()) == [("e/a", tail)]
        await owner.quiet()
        assert await other.cursors("s") == {"e/a": tail}
    redis.command("ACL", "DELUSER", "app")
