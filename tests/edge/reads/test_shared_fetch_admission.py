"""Who may have what somebody else has asked for, and what becomes of those who may not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.reads.shared_response import LONGEST_GATHERED
from headgate_gateway.errors import OriginBroken
from tests.edge.reads.stage import PATH, Stage, Told, cache_before, told
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer, close
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.edge.reads.http_cache import CacheResult

MINUTE = "Cache-Control: max-age=60"
OFFSET = "Stream-Next-Offset: 9"
NO_STORE = "Cache-Control: no-store"
COOKIE = ("Cookie", "session=a")


def language(name: str) -> tuple[str, str]:
    return ("Accept-Language", name)


class Polyglot:
    """An origin that answers, once it is let, in the language that it is asked in."""

    def __init__(self, *fields: str, status: str = "200 OK") -> None:
        self.fields = fields
        self.status = status
        self._go = asyncio.Event()

    def go(self) -> None:
        self._go.set()

    async def __call__(self, wire: Wire) -> None:
        await self._go.wait()
        text = wire.heard.named.get("accept-language", "none").encode()
        await wire.send(answer(text, "Vary: Accept-Language", *self.fields, status=self.status))


async def crowd(
    raw: RawOrigin, stage: Stage, *readers: tuple[tuple[str, str], ...], query: str = ""
) -> list[asyncio.Task[Told]]:
    """The first one leads, and all others wait for what it has asked."""
    tasks = [asyncio.create_task(stage.get(query, *fields)) for fields in readers]
    await until(lambda: len(raw.heard) == 1 and stage.cache.fetches.collapsed == len(readers) - 1)
    return tasks


async def heard(raw: RawOrigin, requests: int) -> None:
    await until(lambda: len(raw.heard) >= requests)


@pytest.mark.parametrize(
    ("fields", "status"),
    [([MINUTE], "200 OK"), (["Cache-Control: no-store"], "503 Busy")],
)
async def test_readers_of_other_variants_share_one_request_per_variant(
    fields: list[str], status: str
) -> None:
    polyglot = Polyglot(*fields, status=status)
    names = ["en", *["de"] * 20, *["fr"] * 20]
    async with cache_before(polyglot) as (raw, stage):
        readers = await crowd(raw, stage, *((language(name),) for name in names))
        polyglot.go()
        answers = await asyncio.gather(*readers)
        assert [reader.body.decode() for reader in answers] == names
        assert [reader.x_cache for reader in answers].count("COLLAPSED") == 38
        assert len(raw.heard) == 3


@pytest.mark.parametrize("said", ["X: -", "Cache-Control: no-store"])
async def test_readers_of_an_absent_stream_share_one_request_until_a_write(said: str) -> None:
    """Viewers of a stream that is about to be created; once it may be, nobody joins any more."""
    numbers = Numbers(said, status="404 Not Found")
    async with cache_before(numbers) as (raw, stage):
        readers = await crowd(raw, stage, *(() for _ in range(20)))
        stage.cache.forget(PATH)
        late = asyncio.create_task(stage.get())
        await heard(raw, 2)
        numbers.go()
        numbers.go()
        assert {(await reader).body for reader in readers} | {(await late).body} == {b"1", b"2"}
        assert len(raw.heard) == 2
        numbers.go()
        assert (await stage.get()).body == b"3"  # it is not kept


async def test_readers_of_different_known_variants_do_not_wait_for_each_other() -> None:
    first, second = Steps(b"", answer(b"a", MINUTE)), answer(b"de", MINUTE, "Vary: Accept-Language")
    known = answer(b"en", "Cache-Control: max-age=1", "Vary: Accept-Language")
    async with cache_before(known, first, second) as (_, stage):
        await stage.get("", language("en"))
        stage.clock.advance(2)
        held_up = asyncio.create_task(stage.get("", language("fr")))
        await until(lambda: first.sent == 1)
        assert (await stage.get("", language("de"))).body == b"de"
        first.go()
        assert (await held_up).body == b"a"


@pytest.mark.parametrize("fields", [["Cache-Control: private"], [OFFSET]])
async def test_one_reader_with_two_variant_requests_at_once_gets_both(fields: list[str]) -> None:
    """Though what is for somebody is not kept, and so is no variant of anything."""
    polyglot = Polyglot(*fields)
    names = ["en", "de", "en", "de"]
    async with cache_before(polyglot) as (raw, stage):
        readers = await crowd(raw, stage, *((language(name), COOKIE) for name in names))
        polyglot.go()
        assert [reader.body.decode() for reader in await asyncio.gather(*readers)] == names
        assert len(raw.heard) == 2


@pytest.mark.parametrize(
    ("query", "fields", "status"),
    [
        ("", ["Cache-Control: private", "Vary: *"], "200 OK"),
        ("", ["Cache-Control: private", "Set-Cookie: once=1"], "200 OK"),
        ("", [NO_STORE], "200 OK"),
        ("", ["Set-Cookie: once=1"], "503 Busy"),
        pytest.param("offset=now", [OFFSET, "Set-Cookie: a=1", NO_STORE], "200 OK", id="a-tail"),
    ],
)
async def test_a_response_for_one_request_is_fetched_by_each_waiting_reader(
    query: str, fields: list[str], status: str
) -> None:
    """Also by the same reader: a token that serves once, an answer that must not be reused."""
    numbers = Numbers(*fields, status=status)
    async with cache_before(numbers) as (raw, stage):
        who = () if query else (COOKIE,)
        readers = await crowd(raw, stage, *[who] * 4, query=query)
        numbers.go()
        await heard(raw, 4)  # at once, when the first is answered
        for _ in range(3):
            numbers.go()
        answers = await asyncio.gather(*readers)
        assert sorted(reader.body for reader in answers) == [b"1", b"2", b"3", b"4"]


class Numbers:
    """An origin whose answers are numbered, and given one by one as it is let."""

    def __init__(self, *fields: str, status: str) -> None:
        self.fields = fields
        self.status = status
        self._count = 0
        self._go = asyncio.Semaphore(0)

    def go(self) -> None:
        self._go.release()

    async def __call__(self, wire: Wire) -> None:
        await self._go.acquire()
        self._count += 1
        await wire.send(answer(str(self._count).encode(), *self.fields, status=self.status))


async def test_one_refresh_of_a_public_response_serves_all_readers() -> None:
    public = "Cache-Control: public, max-age=1, stale-while-revalidate=60"
    second = Steps(b"", answer(b"new", public))
    async with cache_before(answer(b"old", public), second) as (raw, stage):
        await stage.get()
        stage.clock.advance(2)
        for number in range(20):
            reader = await stage.get("", ("Cookie", f"visitor={number}"))
            assert (reader.body, reader.x_cache) == (b"old", "STALE")
        await until(lambda: second.sent == 1)
        second.go()
        await until(lambda: stage.find().cached.body == b"new")  # type: ignore[union-attr] # kept
        assert len(raw.heard) == 2


def head(*fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", MINUTE, *fields, "", ""]).encode()


async def waiting(raw: RawOrigin, stage: Stage, count: int) -> list[asyncio.Task[CacheResult]]:
    """Readers of one request, whose response has not begun."""
    readers = [asyncio.create_task(stage.given()) for _ in range(count)]
    await until(lambda: len(raw.heard) == 1 and stage.cache.fetches.collapsed == count - 1)
    return readers


async def test_readers_that_wait_when_a_body_begins_get_each_part_as_it_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How long the whole of it takes is the origin's affair, and may be for ever."""
    monkeypatch.setattr("headgate_gateway.edge.reads.http_cache.JOINED_S", 0.01)
    steps = Steps(b"", head("Content-Length: 6") + b"ab", b"cd", b"ef")
    async with cache_before(steps) as (raw, stage):
        readers = await waiting(raw, stage, 4)
        steps.go()
        results = await asyncio.gather(*readers)
        assert [one.cache.result for one in results] == ["MISS", *["COLLAPSED"] * 3]
        bodies = [one.source.parts() for one in results if one.source is not None]
        assert [await anext(parts) for parts in bodies] == [b"ab"] * 4
        for piece in (b"cd", b"ef"):
            steps.go()
            assert [await anext(parts) for parts in bodies] == [piece] * 4
        assert [[part async for part in parts] for parts in bodies] == [[]] * 4
        await until(lambda: stage.find() is not None)
        assert (await stage.get()).x_cache == "HIT"
        assert len(raw.heard) == 1


async def test_a_reader_that_comes_while_a_body_arrives_gets_it_when_it_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headgate_gateway.edge.reads.http_cache.JOINED_S", 0.01)
    steps = Steps(head("Content-Length: 4") + b"da", b"ta")
    async with cache_before(steps) as (raw, stage):
        leader = await stage.given()
        joined = asyncio.create_task(stage.given())
        await until(lambda: stage.cache.fetches.collapsed == 1)
        await asyncio.sleep(0.05)  # several times as long as those who wait for it to begin
        assert not joined.done()
        steps.go()
        whole = await joined
        assert (whole.source, whole.cached.body) == (None, b"data")
        assert (await told(leader)).body == b"data"
        assert len(raw.heard) == 1


async def test_a_slow_body_that_is_cut_is_cut_for_all_its_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headgate_gateway.edge.reads.http_cache.JOINED_S", 0.01)
    steps = Steps(b"", head("Content-Length: 6") + b"ab", then=close)
    async with cache_before(steps) as (raw, stage):
        readers = await waiting(raw, stage, 3)
        steps.go()
        results = await asyncio.gather(*readers)
        late = asyncio.create_task(stage.get())
        await until(lambda: stage.cache.fetches.collapsed == 3)
        steps.go()
        for got in (*map(told, results), late):
            with pytest.raises(OriginBroken):
                await got
        assert len(raw.heard) == 1


async def test_a_stale_response_stands_in_for_readers_that_got_nothing_of_a_cut_body() -> None:
    """Who has its head is told that it is cut, and does not wait for more."""
    old = answer(b"old", "Cache-Control: max-age=1, stale-if-error=60")
    steps = Steps(head("Content-Length: 6"), then=close)
    async with cache_before(old, steps) as (raw, stage):
        await stage.get()
        stage.clock.advance(2)
        leader = await stage.given()
        joined = asyncio.create_task(stage.get())
        await until(lambda: stage.cache.fetches.collapsed == 1)
        steps.go()
        assert ((await joined).body, (await joined).x_cache) == (b"old", "STALE")
        with pytest.raises(OriginBroken):
            await told(leader)
        assert len(raw.heard) == 2
        assert (await stage.get()).body == b"old", "what was cut does not replace it"


async def test_a_body_that_exceeds_the_cache_limit_still_reaches_all_its_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its length is not known before; a reader that came while it arrived requests it again."""
    monkeypatch.setattr("headgate_gateway.edge.reads.http_cache.JOINED_S", 0.01)
    length = LONGEST_GATHERED + 5_000_000
    chunk = b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)

    async def rest(wire: Wire) -> None:
        for _ in range(length // 100_000 - 1):
            await wire.send(chunk)
        await wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (length % 100_000, b"x" * (length % 100_000)))

    steps = Steps(b"", head("Transfer-Encoding: chunked") + chunk, then=rest)
    async with cache_before(steps, answer(b"short", MINUTE)) as (raw, stage):
        readers = await waiting(raw, stage, 2)
        steps.go()
        results = await asyncio.gather(*readers)
        late = asyncio.create_task(stage.get())
        await until(lambda: stage.cache.fetches.collapsed == 2)
        steps.go()
        bodies = await asyncio.gather(*map(told, results))
        assert [len(reader.body) for reader in bodies] == [length] * 2
        assert (await late).body == b"short"
        assert len(raw.heard) == 2


async def test_a_reader_that_may_not_join_sends_no_validator_of_a_dropped_response() -> None:
    """An origin whose tags tell only lengths would say so of a stream that was made anew."""
    tag = 'ETag: "1"'
    of_one = Steps(b"", answer(b"mine", "Set-Cookie: session=a", tag))

    async def of_another_stream(wire: Wire) -> None:
        is_asked = any(field.startswith("If-None-Match") for field in wire.heard.fields)
        same = answer(b"", tag, status="304 Not Modified")
        await wire.send(same if is_asked else answer(b"new", MINUTE, tag))

    scripts = (answer(b"old", MINUTE, tag), of_one, of_another_stream)
    async with cache_before(*scripts) as (_, stage):
        await stage.get()
        stage.clock.advance(61)
        readers = [asyncio.create_task(stage.get()) for _ in range(2)]
        await until(lambda: of_one.sent == 1 and stage.cache.fetches.collapsed == 1)
        stage.cache.forget(PATH)
        of_one.go()
        assert [(await reader).body for reader in readers] == [b"mine", b"new"]
        assert (await stage.get()).body == b"new"


@pytest.mark.parametrize("own", ["Set-Cookie: session=a", "Cache-Control: private", "Vary: *"])
async def test_a_304_for_one_reader_is_not_shared_with_readers_that_joined(own: str) -> None:
    tag = 'ETag: "1"'
    of_one = Steps(b"", answer(b"", own, tag, status="304 Not Modified"))
    scripts = (answer(b"data", MINUTE, tag), of_one, answer(b"data", "Next: mine", tag))
    async with cache_before(*scripts) as (raw, stage):
        await stage.get()
        stage.clock.advance(61)
        readers = [asyncio.create_task(stage.given()) for _ in range(2)]
        await until(lambda: of_one.sent == 1 and stage.cache.fetches.collapsed == 1)
        of_one.go()
        leader, joined = [(await reader).cached for reader in readers]
        name, value = own.split(": ")
        assert (leader.body, leader.fields()[name]) == (b"data", value)
        assert joined.fields().get(name) != value
        assert joined.fields()["Next"] == "mine"
        assert len(raw.heard) == 3
