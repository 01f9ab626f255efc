"""A private route to an HTTP origin: by the current reader key its answers are as on a public one.

What the origin says of caches is kept once, and told each reader as it is for him.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.access.test_reader_keys import KEY, is_shared
from tests.support.guarded_gateway import bearer, tokens_file
from tests.support.keys_files import new_keys_file
from tests.support.raw_origin import RawOrigin, Wire, answer
from tests.support.serving import EDGE, edge_serving, get, post, put, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.http1 import Answer
    from tests.support.serving import Serving

PATH = f"{EDGE}/a/s"
READ = f"{PATH}?offset=0_0"  # a chunk, which is kept for as long as the origin says
TAIL = "Stream-Up-To-Date: true"
SAYS = (
    "Cache-Control: public, max-age=60, stale-while-revalidate=60",
    "CDN-Cache-Control: max-age=90",
)
VARY = ("Authorization, Cookie",)
GUARDS = ("tokens", "origin")


class Origin:
    """Has one closed stream, unless it `is_open`, and says of it what it is told to."""

    def __init__(self, *says: str) -> None:
        self.says = says or SAYS
        self.is_open = False
        self.news = asyncio.Event()  # for which its polls wait
        self.asked: list[tuple[str, str]] = []
        self.members = {bearer("ann"), bearer("all")}
        self.guards = False

    async def __call__(self, wire: Wire) -> None:
        heard = wire.heard
        await wire.body()
        self.asked.append((heard.method, heard.target))
        who = f"Authorization: {heard.named.get('authorization', '')}"
        if self.guards and who not in self.members:
            await wire.send(answer(b"", status="403 Forbidden"))
            return
        if "live=" in heard.target:
            await self.news.wait()
        ends = "2_0" if "offset=1_0" in heard.target and self.news.is_set() else "1_0"
        told = ["Content-Type: text/plain", TAIL, f"Stream-Next-Offset: {ends}"]
        told += [] if self.is_open else ["Stream-Closed: true"]
        body = b"" if "offset=1_0" in heard.target and ends == "1_0" else b"data"
        whole = answer(body, *told, *self.says)
        await wire.send(whole.removesuffix(body) if heard.method == "HEAD" else whole)

    def count(self, method: str = "GET") -> int:
        return sum(one == method for one, _ in self.asked)


@contextlib.asynccontextmanager
async def keyed(folder: Path, origin: Origin, guard: str = "tokens") -> AsyncIterator[Serving]:
    origin.guards = guard == "origin"
    given = {"tokens_file": str(tokens_file(folder)), "keys_file": new_keys_file(folder)}
    settings = {"auth": guard, "reader_keys": "on"}
    async with (
        RawOrigin(origin) as server,
        edge_serving(server, settings, long_poll_timeout=0.1, **given) as gateway,
    ):
        yield gateway


async def ask(gateway: Serving, query: str = "", *lines: str, name: str = "ann") -> Answer:
    return await gateway.ask(get(f"{READ}{query}", bearer(name), *lines))


async def key_of(gateway: Serving, path: str = PATH) -> str:
    told = await gateway.ask(request("HEAD", path, bearer("all")))
    key = told.get(KEY)
    assert key is not None, told
    return key


def rotate(gateway: Serving, number: int = 1) -> None:
    keys = gateway.edges[0].access.reader_keys
    assert keys is not None
    keys.update(None, {f"{EDGE}/a/*": number}, "")


@pytest.mark.parametrize("guard", GUARDS)
async def test_one_origin_fetch_serves_readers_with_and_without_the_key_differently(
    guard: str, tmp_path: Path
) -> None:
    """All ways of an answer, with the current key, without, and with three that are not it."""
    origin = Origin()
    cases = 0
    async with keyed(tmp_path, origin, guard) as gateway:
        key, other = await key_of(gateway), await key_of(gateway, f"{EDGE}/a/other")
        assert key != other
        given = {f"&rk={key}": True, "": False, f"&rk={other}": None, "&rk=": None, "&rk=x": None}
        ways = ((), ("X-Request-Id:r",), ("If-None-Match: *",), ("Range: bytes=0-1",))
        for _, (query, by_key), lines in product(range(2), given.items(), ways):
            told = await ask(gateway, query, *lines)
            assert told.get(KEY) == key
            if by_key:
                assert told.headers["cache-control"] == SAYS[0].partition(": ")[2]
                assert told.get("cdn-cache-control") == SAYS[1].partition(": ")[2]
                assert told.get("surrogate-key")
                assert told.get("vary") is None
            else:
                said = "private, no-store"
                if by_key is not None:
                    said = "private, max-age=60, stale-while-revalidate=60"
                assert told.headers["cache-control"] == said, (query, lines)
                assert not {"cdn-cache-control", "surrogate-key", "cache-tag"} & told.headers.keys()
                assert [value for name, value in told.fields if name == "vary"] == list(VARY)
            cases += 1
        for query, name in product(given, ("ben", "writer")):
            refused = await ask(gateway, query, name=name)
            assert (refused.status, refused.get(KEY), is_shared(refused)) == (403, None, False)
            cases += 1
    assert cases == 50
    assert origin.count() == 1
    assert not any("rk=" in target for _, target in origin.asked)


async def test_a_creation_returns_its_key_if_the_token_may_read(tmp_path: Path) -> None:
    async with keyed(tmp_path, Origin()) as gateway:
        made = [await gateway.ask(put(PATH, bearer(name))) for name in ("all", "writer")]
        assert [one.get(KEY) for one in made] == [await key_of(gateway), None]


async def test_a_creation_returns_its_key_if_the_origin_permits_reads(tmp_path: Path) -> None:
    async with keyed(tmp_path, Origin(), "origin") as gateway:
        before = await gateway.ask(put(PATH, bearer("all")))
        key = await key_of(gateway)
        after, refused = [await gateway.ask(put(PATH, bearer(it))) for it in ("all", "ben")]
        assert [one.get(KEY) for one in (before, after, refused)] == [None, key, None]


async def test_the_reader_key_is_found_in_the_query_by_its_name(tmp_path: Path) -> None:
    """In any place of it; the key is no part of the stream, or of what the origin is asked."""
    origin = Origin()
    async with keyed(tmp_path, origin) as gateway:
        key = await key_of(gateway)
        for query in (f"?rk={key}&offset=0_0", f"?offset=0_0&rk={key}", f"?offset=0_0&rk={key}&"):
            for _ in range(2):
                assert is_shared(await gateway.ask(get(f"{PATH}{query}", bearer("ann"))))
        for query in (f"?offset=0_0&RK={key}", f"?offset=0_0&ark={key}", f"?offset=0_0&rk%3D{key}"):
            for _ in range(2):
                assert not is_shared(await gateway.ask(get(f"{PATH}{query}", bearer("ann"))))
    assert next(target for method, target in origin.asked if method == "GET") == READ
    assert origin.count() == 4


@pytest.mark.parametrize("guard", GUARDS)
async def test_a_rotation_applies_to_cached_origin_responses_at_once(
    guard: str, tmp_path: Path
) -> None:
    """On both ways, and for a head that was remembered."""
    origin = Origin()
    async with keyed(tmp_path, origin, guard) as gateway:
        old = await key_of(gateway)
        client = await gateway.connect()
        ours = get(f"{READ}&rk={old}", bearer("ann"))
        for _ in range(4):
            client.send(ours)
            assert is_shared(await client.answer())
        assert gateway.fast.answered >= 3
        rotate(gateway)
        for _ in range(2):
            client.send(ours)
            told = await client.answer()
            assert told.headers["cache-control"] == "private, no-store"
            new = told.get(KEY)
            assert new != old
            slowly = await ask(gateway, f"&rk={old}", "X-Request-Id:r")
            assert slowly.headers["cache-control"] == "private, no-store"
            assert (await ask(gateway)).get(KEY) == new
            assert is_shared(await ask(gateway, f"&rk={new}"))
        assert gateway.fast.answered >= 6
    assert origin.count() == 1


MINUTE = "Cache-Control: max-age=60"
PRIVATE: dict[str, tuple[str, tuple[str, ...], str]] = {
    "private": ("origin", ("Cache-Control: private, max-age=60",), ""),
    "not-to-be-stored": ("origin", ("Cache-Control: no-store",), ""),
    "with-a-cookie": ("origin", (MINUTE, "Set-Cookie: a=b"), ""),
    "vary-on-authorization": ("origin", (MINUTE, "Vary: Authorization"), ""),
    "asked-with-a-cookie": ("tokens", (MINUTE,), "Cookie: session=ann"),
}


@pytest.mark.parametrize("kind", PRIVATE)
async def test_private_responses_stay_private_with_the_reader_key(
    kind: str, tmp_path: Path
) -> None:
    guard, says, line = PRIVATE[kind]
    async with keyed(tmp_path, Origin(*says), guard) as gateway:
        key = await key_of(gateway)
        for _ in range(2):
            told = await ask(gateway, f"&rk={key}", *filter(None, [line]))
            assert (told.status, told.get(KEY)) == (200, key)
            assert "private" in told.headers["cache-control"], told


async def test_added_lifetimes_are_shared_only_with_the_reader_key(tmp_path: Path) -> None:
    """Of a whole chunk, and of what reached an open tail."""
    for is_open in (False, True):
        origin = Origin("X-Says: nothing")
        origin.is_open = is_open
        async with keyed(tmp_path, origin) as gateway:
            key = await key_of(gateway)
            for query in ("", f"&rk={key}", "&rk=old") * 2:
                told = await ask(gateway, query)
                assert is_shared(told) == (key in query), (is_open, query, told)
        assert origin.count() == 1


async def test_collapsed_and_stale_responses_need_the_reader_key(tmp_path: Path) -> None:
    origin = Origin(SAYS[0])
    async with keyed(tmp_path, origin) as gateway:
        key = await key_of(gateway)
        asked = [ask(gateway, query) for query in ("", f"&rk={key}", "&rk=old") * 5]
        told = await asyncio.gather(*asked)
        assert [is_shared(one) for one in told] == [False, True, False] * 5
        assert origin.count() == 1
        gateway.clock.now += 61
        stale = [await ask(gateway, query) for query in ("", f"&rk={key}")]
        assert [is_shared(one) for one in stale] == [False, True]
        assert stale[0].get("x-cache") == "STALE"


async def test_responses_of_followed_streams_need_the_reader_key(tmp_path: Path) -> None:
    """In time, out of time, and at once for who is behind; the origin has one poll for all."""
    origin = Origin("Cache-Control: max-age=60")
    origin.is_open = True
    async with keyed(tmp_path, origin) as gateway:
        key = await key_of(gateway)
        queries = ("", f"&rk={key}", "&rk=old")
        poll = f"{PATH}?offset=1_0&live=long-poll"

        async def told(target: str) -> list[Answer]:
            asked = [gateway.ask(get(f"{target}{query}", bearer("ann"))) for query in queries]
            return await asyncio.gather(*asked)

        answers = await told(poll)
        assert [one.status for one in answers] == [204] * 3
        assert [is_shared(one) for one in answers] == [False, True, False]
        assert [one.get(KEY) for one in answers] == [key] * 3
        origin.news.set()
        for target in (poll, poll, f"{PATH}?offset=1_0", f"{PATH}?offset=1_0"):
            answers = await told(target)
            assert [(one.status, one.body) for one in answers] == [(200, b"data")] * 3
            assert [is_shared(one) for one in answers] == [False, True, False], target
            assert [one.get(KEY) for one in answers] == [key] * 3


async def test_sse_and_forwarded_requests_stay_private_despite_the_key(tmp_path: Path) -> None:
    origin = Origin()
    origin.is_open = True
    async with keyed(tmp_path, origin) as gateway:
        key = await key_of(gateway)
        client = await gateway.connect()
        client.send(get(f"{READ}&live=sse&rk={key}", bearer("ann")))
        head = await client.head()
        assert head.get("cache-control") == "private, no-cache, no-transform"
        told = await gateway.ask(request("HEAD", f"{PATH}?rk={key}", bearer("ann")))
        assert (told.get(KEY), is_shared(told)) == (key, False)
        written = await gateway.ask(post(PATH, b"more", bearer("writer")))
        assert written.get(KEY) is None
    assert not any("rk=" in target for _, target in origin.asked)
