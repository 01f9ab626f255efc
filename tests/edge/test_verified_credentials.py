"""What the gateway has verified itself is not the origin's business, nor makes anybody special."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import product
from typing import TYPE_CHECKING

from headgate_gateway.web.connections.connection import Connection
from tests.support.guarded_gateway import CANARY, bearer, token, tokens_file
from tests.support.raw_origin import RawOrigin, Wire, answer
from tests.support.serving import EDGE, Serving, edge_serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


STREAM = f"{EDGE}/a/s"
COOKIE = "__Secure-headgate"
FRESH = (
    *("Content-Type: text/plain", "Stream-Next-Offset: 1_0", "Cache-Control: max-age=60"),
    *("Stream-Up-To-Date: true", "Stream-Closed: true"),
)
SAYS = {
    "cache-control": "public, max-age=60, s-maxage=600, must-revalidate, proxy-revalidate",
    "cdn-cache-control": "max-age=600",
    "cloudflare-cdn-cache-control": "max-age=600",
    "surrogate-control": "max-age=600",
    "surrogate-key": "theirs",
    "cache-tag": "theirs",
    "x-accel-expires": "600",
    "edge-cache-tag": "theirs",
}
READERS = ("ann", "all")


def credentials(name: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """In each place where there may be one: more of the query, and header lines."""
    return {
        "header": ("", (bearer(name),)),
        "query": (f"&token={token(name)}", ()),
        "cookie": ("", (f"Cookie: {COOKIE}={token(name)}",)),
    }


@contextlib.asynccontextmanager
async def guarded(
    folder: Path, script: object, **route: object
) -> AsyncIterator[tuple[Serving, RawOrigin]]:
    async with RawOrigin(script) as origin:  # type: ignore[arg-type] # bytes or a function
        settings = {"auth": "tokens", **route}
        path = str(tokens_file(folder))
        async with edge_serving(origin, settings, tokens_file=path) as gateway:
            yield gateway, origin


async def test_one_cached_response_serves_all_admitted_readers_and_the_origin_sees_no_credentials(
    tmp_path: Path,
) -> None:
    cases = 0
    async with guarded(tmp_path, answer(b"data", *FRESH)) as (gateway, origin):
        for name, where in product(READERS, credentials("")):
            query, lines = credentials(name)[where]
            for more in ((), ("X-Request-Id:r",)):
                one = await gateway.ask(get(f"{STREAM}?offset=-1{query}", *lines, *more))
                assert (one.status, one.body) == (200, b"data")
                assert one.get("x-cache") == ("HIT" if cases else "MISS"), (name, where, more)
                assert CANARY not in repr(one)
                cases += 1
        assert cases == 12
        (heard,) = origin.heard
        assert "authorization" not in heard.named
        assert "cookie" not in heard.named
        assert CANARY not in repr(heard)


async def test_identity_headers_other_than_the_verified_token_separate_readers(
    tmp_path: Path,
) -> None:
    async with guarded(tmp_path, answer(b"data", *FRESH)) as (gateway, origin):
        for lines in (
            (bearer("ann"), "Cookie: a=1"),
            (bearer("ann"), "Cookie: a=2"),
            (f"Cookie: {COOKIE}={token('ann')}; a=1; headgate_session=secret",),
            (f'Cookie: a=2;{COOKIE}="{token("ann")}"',),
            (bearer("ann"), "X-Tenant-Id: one"),
        ):
            assert (await gateway.ask(get(f"{STREAM}?offset=-1", *lines))).get("x-cache") == "MISS"
        told = [heard.named.get("cookie", "") for heard in origin.heard]
        assert told == ["a=1", "a=2", "a=1", "a=2", ""]
        assert CANARY not in repr(origin.heard)


async def test_an_unverified_authorization_header_is_not_sent_to_the_origin(tmp_path: Path) -> None:
    async with guarded(tmp_path, answer(b"data", *FRESH), anonymous=["read", "append"]) as (
        gateway,
        origin,
    ):
        basic = "Authorization: Basic Y2FuYXJ5OnNlY3JldA=="
        for number in range(2):
            one = await gateway.ask(get(f"{STREAM}?offset=-1", basic))
            assert (one.status, one.get("x-cache")) == (200, ("MISS", "HIT")[number])
        origin.scripts = [_drain]
        assert (await gateway.ask(request("HEAD", STREAM, basic))).status == 204
        assert (await gateway.ask(request("POST", STREAM, basic, body=b"x"))).status == 204
        assert [heard.method for heard in origin.heard] == ["GET", "HEAD", "POST"]
        assert not any("authorization" in heard.named for heard in origin.heard)


async def _drain(wire: Wire) -> None:
    await wire.body()
    await wire.send(b"HTTP/1.1 204 No Content\r\nStream-Next-Offset: 2_0\r\n\r\n")


async def test_writes_reach_the_origin_without_the_verified_credential(tmp_path: Path) -> None:
    async with guarded(tmp_path, _drain) as (gateway, origin):
        for method in ("PUT", "POST", "DELETE"):
            lines = (bearer("all"), f"Cookie: {COOKIE}={token('all')}; a=1")
            one = await gateway.ask(request(method, STREAM, *lines, body=b"x"))
            assert one.status == 204, one
        assert [heard.named.get("cookie") for heard in origin.heard] == ["a=1"] * 3
        assert not any("authorization" in heard.named for heard in origin.heard)
        assert CANARY not in repr(origin.heard)


async def test_one_origin_poll_feeds_all_admitted_readers(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def play(wire: Wire) -> None:
        waits = "live=" in wire.heard.target
        if waits:
            await go.wait()
            go.clear()
        fields = ("Content-Type: text/plain", "Stream-Up-To-Date: true", "Stream-Cursor: 1")
        end = "2_0" if waits else "1_0"
        await wire.send(answer(b"news" if waits else b"", *fields, f"Stream-Next-Offset: {end}"))

    async with guarded(tmp_path, play) as (gateway, origin):
        clients = []
        handled = gateway.watch_handlers()
        for name, where in product(READERS, credentials("")):
            query, lines = credentials(name)[where]
            client = await gateway.connect()
            client.send(get(f"{STREAM}?live=sse&offset=1_0{query}", *lines))
            head = await client.head()
            assert head.get("cache-control") == "private, no-cache, no-transform"
            clients.append(client)
        await until(lambda: any("live=" in heard.target for heard in origin.heard))
        go.set()
        for client in clients:
            events = await client.events_until(lambda told: any(e.data == "news" for e in told))
            assert events
        assert len(gateway.edges[0].feeds.table.by_key) == 1
        assert CANARY not in repr(origin.heard)
        poller = await gateway.connect()  # late, and answered at once: it waits for nothing
        late = await poller.ask(get(f"{STREAM}?offset=1_0&live=long-poll", bearer("ann")))
        assert (late.status, late.body) == (200, b"news")
        assert len(handled) == len(clients)
        (kept,) = [it for it in gateway.server.connections if isinstance(it, Connection)]
        assert kept.requests.poll is None


async def test_responses_of_a_private_route_have_no_lines_for_shared_caches(tmp_path: Path) -> None:
    """Whatever is answered: a miss, hits on both ways, 304, 206, HEAD, stale, a feed, a write."""
    says = [f"{name}: {value}" for name, value in SAYS.items()]
    whole = answer(b"data", *FRESH[:2], *FRESH[3:], *says, 'ETag: "t"')
    cases = 0

    async def play(wire: Wire) -> None:
        await wire.body()
        await wire.send(whole.removesuffix(b"data") if wire.heard.method == "HEAD" else whole)

    async with guarded(tmp_path, play) as (gateway, origin):
        read = f"{STREAM}?offset=0_0"
        reads = {
            "MISS": get(read, bearer("all")),
            "HIT": get(read, bearer("all"), "X-Request-Id:r"),
            "HIT at once": get(read, bearer("all")),
            "HIT 304": get(read, bearer("all"), "If-None-Match: *"),
            "HIT 206": get(read, bearer("all"), "Range: bytes=0-1"),
            "REVALIDATED": get(read, bearer("all")),
            "HIT once more": get(read, bearer("all")),
            "BYPASS HEAD": request("HEAD", STREAM, bearer("all")),
            "MISS of no stream": get(f"{STREAM}?live=other", bearer("all")),
            "BYPASS POST": request("POST", STREAM, bearer("all"), body=b"x"),
        }
        for name, asked in reads.items():
            if name == "REVALIDATED":  # by an answer that says nothing to caches
                gateway.clock.now += 601
                origin.scripts = [b'HTTP/1.1 304 Not Modified\r\nETag: "t"\r\n\r\n', play]
            told = await gateway.ask(asked)
            assert told.get("x-cache") == name.split(" ")[0], (name, told)
            # From where it reads is the origin's to say, so it may be from the beginning.
            tail = "no-cache, max-age=0, stale-while-revalidate=0"
            lifetime = tail if "live=other" in asked.decode() else "max-age=60"
            assert told.headers["cache-control"] == f"private, {lifetime}", name
            assert not (SAYS.keys() - {"cache-control"}) & told.headers.keys(), name
            cases += 1
    assert cases == 10


async def test_lifetimes_that_the_gateway_adds_to_a_private_route_are_for_browsers_only(
    tmp_path: Path,
) -> None:
    async def play(wire: Wire) -> None:
        is_tail = "offset=1_0" in wire.heard.target
        fields = ["Content-Type: text/plain", "Stream-Next-Offset: 1_0"]
        await wire.send(answer(b"data", *fields, *(["Stream-Up-To-Date: true"] if is_tail else [])))

    async with guarded(tmp_path, play, chunk_max_age=600) as (gateway, _):
        for x_cache in ("MISS", "HIT"):
            told = await gateway.ask(get(f"{STREAM}?offset=0_0", bearer("all")))
            assert told.get("x-cache") == x_cache
            said = told.headers["cache-control"]
            assert said == "private, max-age=600, stale-while-revalidate=300"
            assert not {"surrogate-key", "cache-tag", "cdn-tag"} & told.headers.keys()
        tail = await gateway.ask(get(f"{STREAM}?offset=1_0", bearer("all")))
        assert tail.headers["cache-control"] == "private, no-cache, stale-while-revalidate=0"
        assert not {"cdn-cache-control", "surrogate-control"} & tail.headers.keys()


async def test_an_admitted_request_reaches_the_origin_without_method_or_path_override_headers(
    tmp_path: Path,
) -> None:
    renames = [
        *("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"),
        *(
            "X-Original-URL: /b",
            "X-Rewrite-URL: /b",
            "X-Forwarded-Uri: /b",
            "X-Original-Method: PUT",
        ),
    ]
    asked = [
        request("POST", STREAM, bearer("all"), *renames, "X-Kept: 1", body=b"x"),
        request("HEAD", STREAM, bearer("all"), *renames, "X-Kept: 1"),
        get(f"{STREAM}?offset=-1&live=other", bearer("all"), *renames, "X-Kept: 1"),
        get(f"{STREAM}?offset=-1", bearer("all"), *renames, "X-Kept: 1"),
    ]
    names = {line.partition(":")[0].lower() for line in renames}

    async def script(wire: Wire) -> None:
        await wire.body()
        await wire.send(answer(b"", *FRESH))

    async with guarded(tmp_path, script) as (gateway, origin):
        for one in asked:
            assert (await gateway.ask(one)).status == 200
        assert [heard.method for heard in origin.heard] == ["POST", "HEAD", "GET", "GET"]
        for heard in origin.heard:
            assert heard.named["x-kept"] == "1"
            assert not names & heard.named.keys(), heard
