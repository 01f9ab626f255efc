"""What one client may take, at the edge of each bound, and who a client is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.followed import followed_streams
from headgate_gateway.protocol.responses import RETRY_AFTER_S
from tests.support.guarded_gateway import bearer, guarded
from tests.support.live_origin import LiveOrigin
from tests.support.log_lines import capture_logs
from tests.support.serving import EDGE, edge_serving, get, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http1 import Answer

PROXY = ("127.0.0.1",)
ORDINARY = "X-Request-Id:mine"  # keeps a request from the fast path
ONE, OTHER = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"


def assert_refused(answer: Answer, limit: str, least_s: int = 1) -> None:
    assert answer.status == 429
    assert answer.get("Content-Type") == "application/problem+json"
    assert b'"client_limit_reached"' in answer.body
    assert f"{limit} is reached".encode() in answer.body
    again_s = int(answer.get("Retry-After") or 0) - least_s + 1
    assert again_s in RETRY_AFTER_S


# ---------------------------------------------------------------- connections


async def test_connections_over_the_limit_of_an_address_get_429_and_are_closed() -> None:
    """They leave room for other addresses."""
    async with serving(max_connections=20, max_client_connections=10) as gateway:
        clients = [await gateway.connect() for _ in range(10)]
        for client in clients:
            assert (await client.ask(request("OPTIONS", "s"))).status == 204
        for client in [await gateway.connect() for _ in range(30)]:
            refusal = await client.answer()
            assert_refused(refusal, "max_client_connections")
            assert refusal.get("Connection") == "close"
            assert await client.rest() == b""
        await until(lambda: gateway.limits.connections == 10)
        assert gateway.limits.refused["max_client_connections"] == 30
        assert gateway.limits.refused["max_connections"] == 0
        assert gateway.limits.connections_of == {"127.0.0.1": 10}
        clients[0].close()
        await until(lambda: gateway.limits.connections_of == {"127.0.0.1": 9})
        again = await gateway.connect()
        assert (await again.ask(request("OPTIONS", "s"))).status == 204


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
async def test_deletions_and_unknown_methods_count_as_appends(method: str) -> None:
    async with serving(max_client_appends=1) as gateway:
        first = await gateway.ask(request(method, "s"))
        assert first.status != 429
        assert_refused(await gateway.ask(request("DELETE", "s")), "max_client_appends")


async def test_a_live_reader_counts_as_a_connection_until_it_disconnects() -> None:
    async with serving(max_client_connections=2, sse_max_age=1.0) as gateway:
        await gateway.ask(put("s", body=b"one"))
        reader = await gateway.connect()
        reader.send(get("s?offset=-1&live=sse"))
        assert (await reader.answer()).status == 200
        other = await gateway.connect()
        assert (await other.ask(get("s?offset=-1"))).status == 200
        assert gateway.limits.connections_of == {"127.0.0.1": 2}
        assert (await (await gateway.connect()).answer()).status == 429
        await until(lambda: gateway.limits.live_readers == 0)  # its answer is over
        assert gateway.limits.connections_of == {"127.0.0.1": 2}
        reader.send(get("s?offset=-1&live=sse"))
        await until(lambda: gateway.limits.live_readers == 1)
        assert gateway.limits.connections_of == {"127.0.0.1": 2}
        reader.abort()
        other.abort()
        await until(lambda: gateway.limits.connections == 0)
        assert gateway.limits.connections_of == {}


async def test_connections_of_a_trusted_proxy_are_not_limited_as_one_client() -> None:
    async with serving(max_client_connections=1, trusted_proxies=PROXY) as gateway:
        clients = [await gateway.connect() for _ in range(5)]
        for client in clients:
            assert (await client.ask(request("OPTIONS", "s"))).status == 204
        assert gateway.limits.connections_of == {}


# ---------------------------------------------------------------- appends


@pytest.mark.parametrize("extra", [(), (ORDINARY,)], ids=["fast", "ordinary"])
async def test_appends_over_the_rate_of_a_client_are_refused(extra: tuple[str, ...]) -> None:
    async with serving(max_client_appends=20, trusted_proxies=PROXY) as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        client.send(b"".join(post("s", b"x", ONE, *extra) for _ in range(25)))
        answers = [await client.answer() for _ in range(25)]
        assert [answer.status for answer in answers[:20]] == [204] * 20
        for answer in answers[20:]:
            assert_refused(answer, "max_client_appends")
        assert gateway.limits.refused["max_client_appends"] == 5
        assert (await gateway.ask(post("s", b"x", OTHER, *extra))).status == 204
        read = await gateway.ask(get("s?offset=-1"))
        assert len(read.body) == 20 + 1


async def test_appends_handled_on_either_path_share_one_rate_limit() -> None:
    async with serving(max_client_appends=2) as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        client.send(post("s", b"x") + post("s", b"x", ORDINARY) + post("s", b"x", ORDINARY))
        client.send(post("s", b"x"))
        statuses = [(await client.answer()).status for _ in range(4)]
        assert statuses == [204, 204, 429, 429]


def chunked(name: str, size: int, *lines: str) -> bytes:
    head = request("POST", name, "Content-Type: text/plain", *lines)
    head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    return head + b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"


async def test_an_append_forwarded_to_an_origin_is_counted_once() -> None:
    async with serving() as origin, edge_serving(origin, max_client_appends=3) as gateway:
        await origin.ask(put("s"))
        client = await gateway.connect()
        client.send(post("/edge/s", b"x") * 3)
        assert [(await client.answer()).status for _ in range(3)] == [204] * 3


# ---------------------------------------------------------------- creations


async def test_creations_over_the_hourly_limit_of_a_client_are_refused() -> None:
    async with serving(max_client_creations=3, trusted_proxies=PROXY) as gateway:
        for number in range(3):
            assert (await gateway.ask(put(f"s{number}", ONE))).status == 201
        assert_refused(await gateway.ask(put("s3", ONE)), "max_client_creations", 1200)
        assert_refused(await gateway.ask(put("s0", ONE)), "max_client_creations", 1200)
        assert (await gateway.ask(put("s3", OTHER))).status == 201
        assert gateway.limits.refused["max_client_creations"] == 2


# ---------------------------------------------------------------- feeds


def live(name: str, mode: str, *lines: str) -> bytes:
    """Return a live read at the tail of a stream of one piece."""
    return get(f"{EDGE}/{name}?offset=0001&live={mode}", *lines)


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
async def test_a_client_can_start_a_quarter_of_max_feeds(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_streams, "LINGER_S", 0.02)
    async with (
        LiveOrigin(b"a") as origin,
        edge_serving(origin, max_feeds=9, trusted_proxies=PROXY) as gateway,
    ):
        readers = []
        for name in ("a", "b"):
            readers.append(await gateway.connect())
            readers[-1].send(live(name, mode, ONE))
            await until(lambda: gateway.limits.live_readers == len(readers))
        assert_refused(await gateway.ask(live("c", mode, ONE)), "client_feeds")
        assert gateway.limits.refused["client_feeds"] == 1
        assert gateway.limits.refused["max_feeds"] == 0
        for name, line in (("b", ONE), ("c", OTHER)):  # who joins a feed begins none
            readers.append(await gateway.connect())
            readers[-1].send(live(name, mode, line))
            await until(lambda: gateway.limits.live_readers == len(readers))
        assert gateway.limits.feeds_of == {"192.0.2.1": 2, "192.0.2.2": 1}
        for reader in readers:
            reader.close()
        await until(lambda: gateway.limits.feeds_of == {})


async def test_a_poll_behind_the_tail_is_answered_although_its_client_has_no_feeds_left() -> None:
    async with LiveOrigin(b"a", b"b") as origin, edge_serving(origin, max_feeds=4) as gateway:
        for name in ("a", "b"):
            assert (await gateway.ask(live(name, "long-poll"))).body == b"b"
        assert gateway.limits.feeds_of == {"127.0.0.1": 1}
        assert gateway.limits.refused["client_feeds"] == 0


async def test_accounts_at_one_address_have_separate_feed_limits(tmp_path: Path) -> None:
    async with guarded(tmp_path, max_feeds=4) as gateway:
        for name in ("a/t", "b/t"):
            await gateway.ask(put(f"{EDGE}/{name}", bearer("all"), body=b"data"))

        async def follow(name: str, who: str) -> Answer:
            reader = await gateway.connect()
            reader.send(get(f"{EDGE}/{name}?offset=now&live=sse", bearer(who)))
            return await reader.answer()

        assert (await follow("a/s", "ann")).status == 200
        assert (await follow("b/s", "ben")).status == 200
        assert_refused(await follow("a/t", "ann"), "client_feeds")
        assert (await follow("a/t", "all")).status == 200


# ---------------------------------------------------------------- who is a client


async def test_x_forwarded_for_of_an_untrusted_peer_does_not_change_its_limits() -> None:
    async with serving(max_client_creations=2) as gateway:
        statuses = [
            (await gateway.ask(put(f"s{number}", f"X-Forwarded-For: 192.0.2.{number}"))).status
            for number in range(4)
        ]
        assert statuses == [201, 201, 429, 429]


@pytest.mark.parametrize(("proxies", "client"), [(PROXY, "192.0.2.1"), ((), "127.0.0.1")])
async def test_a_log_line_names_the_client_that_a_trusted_proxy_forwards(
    caplog: pytest.LogCaptureFixture, proxies: tuple[str, ...], client: str
) -> None:
    caplog.set_level(logging.INFO, "headgate")
    async with serving(log_requests="info", trusted_proxies=proxies) as gateway:
        with capture_logs() as lines:
            await gateway.ask(put("s", ONE, body=b"one"))
            await gateway.ask(get("s?offset=-1", ONE))
            await gateway.ask(get("s?offset=-1", ONE))
            assert gateway.fast.answered == 1
            await gateway.ask(post("s", b"x", ONE))
        assert [line["client"] for line in lines] == [client] * 4
        assert {line["forwarded_for"] for line in lines} == {"192.0.2.1"}
