"""What the cache in front of an origin gives out, keeps and forgets, and what it says of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.reads.http_cache import REFRESH_PAUSE_S
from headgate_gateway.edge.reads.variants import HIT_FOR_PASS_S, MAX_VARIANTS
from headgate_gateway.errors import OriginBroken
from headgate_gateway.protocol.streams.offsets import TailBound
from headgate_gateway.protocol.streams.state import Lifetime
from tests.edge.reads.stage import PATH, Stage, cache_before, staged
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer, close
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.support.raw_origin import Play

MINUTE = "Cache-Control: max-age=60"
OFFSET = "Stream-Next-Offset: 9"
TAIL = "Stream-Up-To-Date: true"
SHORT = "Cache-Control: max-age=1"
PRIVATE = "Cache-Control: private"
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"


def stored(status: int = 200, **more: object) -> dict[str, object]:
    return {"fwd": "uri-miss", "fwd-status": status, "stored": True, **more}


def body_kept(stage: Stage) -> bytes | None:
    variant = stage.find()
    return None if variant is None else variant.cached.body


def unstored(status: int = 200, fwd: str = "uri-miss") -> dict[str, object]:
    return {"fwd": fwd, "fwd-status": status}


async def test_a_response_is_fetched_once_and_then_served_from_the_cache() -> None:
    async with cache_before(answer(b"data", MINUTE)) as (raw, stage):
        miss = await stage.given()
        assert (miss.cached.status, miss.cached.body) == (200, b"data")
        assert miss.cache.lines == (
            b"Age: 0\r\nX-Cache: MISS\r\nX-Cache-Hits: 0\r\n"
            b"Cache-Status: Headgate; fwd=uri-miss; fwd-status=200; stored\r\n"
        )
        stage.clock.advance(7.5)
        first = await stage.given()
        assert (first.cached.status, first.cached.body) == (200, b"data")
        assert first.cache.lines == (
            b"Age: 7\r\nX-Cache: HIT\r\nX-Cache-Hits: 1\r\nCache-Status: Headgate; hit; ttl=52\r\n"
        )
        assert (await stage.given()).cache.lines.startswith(
            b"Age: 7\r\nX-Cache: HIT\r\nX-Cache-Hits: 2"
        )
        assert raw.lines() == [f"GET {PATH}"]


async def test_the_age_of_a_response_from_the_origin_counts_towards_its_lifetime() -> None:
    async with cache_before(answer(b"data", MINUTE, "Age: 20")) as (_, stage):
        assert (await stage.get()).age == 20
        stage.clock.advance(30)
        hit = await stage.get()
        assert (hit.age, hit.status_field) == (50, {"hit": True, "ttl": 10})
        stage.clock.advance(10)
        assert (await stage.get()).x_cache == "MISS"


@pytest.mark.parametrize(
    "fields",
    [
        ["Cache-Control: no-store"],
        ["Cache-Control: private, max-age=60"],
        ["Cache-Control: max-age=0"],
        ["Cache-Control: max-age=60", "Vary: *"],
        ["Cache-Control: public, max-age=60", "Set-Cookie: a=b"],
        [],
    ],
)
async def test_a_response_that_must_not_be_stored_is_fetched_each_time(fields: list[str]) -> None:
    async with cache_before(answer(b"data", *fields)) as (raw, stage):
        for _ in range(2):
            miss = await stage.get()
            assert (miss.body, miss.x_cache, miss.status_field) == (b"data", "MISS", unstored())
        assert (len(raw.heard), len(stage.store)) == (2, 0)


@pytest.mark.parametrize(
    ("status", "field", "asked"),
    [
        ("304 Not Modified", 'ETag: "a"', ("If-None-Match", '"a"')),
        ("206 Partial Content", "Content-Range: bytes 0-1/4", ("Range", "bytes=0-1")),
    ],
)
async def test_a_304_or_206_is_an_error_as_the_origin_is_asked_for_the_whole(
    status: str, field: str, asked: tuple[str, str]
) -> None:
    async with cache_before(answer(b"", MINUTE, field, status=status)) as (raw, stage):
        with pytest.raises(OriginBroken):
            await stage.get("", asked)
        assert asked[0].lower() not in raw.heard[0].named
        assert len(stage.store) == 0


async def test_a_response_too_large_to_store_is_not_reported_as_stored() -> None:
    async with cache_before(answer(b"x" * 200_000, MINUTE), store_bytes=1 << 20) as (_, stage):
        assert (await stage.get()).status_field == unstored()
        assert len(stage.store) == 0


async def test_a_stale_response_with_a_matching_304_is_revalidated() -> None:
    confirmed = answer(b"", 'ETag: "a"', "Cache-Control: max-age=30", status="304 Not Modified")
    async with cache_before(answer(b"data", SHORT, 'ETag: "a"'), confirmed) as (
        raw,
        stage,
    ):
        await stage.get()
        await stage.get()
        stage.clock.advance(2)
        given = await stage.given()
        assert given.cache.lines == (
            b"Age: 0\r\nX-Cache: REVALIDATED\r\nX-Cache-Hits: 0\r\n"
            b"Cache-Status: Headgate; fwd=stale; fwd-status=304; stored\r\n"
        )
        assert (given.cached.status, given.cached.body) == (200, b"data")
        assert given.cached.fields()["ETag"] == '"a"'
        assert 'If-None-Match: "a"' in raw.heard[1].fields
        hit = await stage.get()
        assert (hit.hits, hit.status_field) == (2, {"hit": True, "ttl": 30})


@pytest.mark.parametrize(
    ("kept_with", "unchanged"),
    [
        (['ETag: "a"'], ['ETag: "b"']),
        (['ETag: "a"', OFFSET], ['ETag: "a"', "Stream-Next-Offset: 8"]),
        ([f"Last-Modified: {MODIFIED}"], None),
    ],
)
async def test_a_stale_response_is_replaced_at_once_or_after_a_304_with_another_validator(
    kept_with: list[str], unchanged: list[str] | None
) -> None:
    scripts = [answer(b"old", SHORT, *kept_with), answer(b"new", MINUTE)]
    if unchanged is not None:
        scripts[1:1] = [answer(b"", *unchanged, MINUTE, status="304 Not Modified")]
    async with cache_before(*scripts) as (raw, stage):
        await stage.get()
        stage.clock.advance(2)
        miss = await stage.get()
        assert (miss.body, miss.x_cache) == (b"new", "MISS")
        assert miss.status_field == {"fwd": "stale", "fwd-status": 200, "stored": True}
        conditions = ['If-None-Match: "a"'] if unchanged else [f"If-Modified-Since: {MODIFIED}"]
        asked = [[one for one in heard.fields if one.startswith("If-")] for heard in raw.heard]
        assert asked == [[], conditions, []][: len(scripts)]
        assert (await stage.get()).body == b"new"


async def test_a_second_304_with_another_tag_is_an_error() -> None:
    other = answer(b"", 'ETag: "b"', status="304 Not Modified")
    async with cache_before(answer(b"old", SHORT, 'ETag: "a"'), other) as (raw, stage):
        await stage.get()
        stage.clock.advance(2)
        with pytest.raises(OriginBroken):
            await stage.get()
        assert len(raw.heard) == 3


@pytest.mark.parametrize("ends", [[OFFSET], []])
async def test_a_304_with_stream_closed_marks_the_cached_response_closed(ends: list[str]) -> None:
    """Even when the origin's tag is the same for the open stream and the closed one."""
    told = [OFFSET, TAIL, 'ETag: "9"', SHORT]
    closed = [*ends, "Stream-Closed: true", TAIL, 'ETag: "9"', MINUTE]
    scripts = [answer(b"data", *told), answer(b"", *closed, status="304 Not Modified")]
    async with cache_before(*scripts) as (_, stage):
        opened = (await stage.given("offset=1")).cached
        assert (opened.fields()["ETag"], opened.is_tail) == ('"9:tail"', True)
        stage.clock.advance(2)
        await stage.get("offset=1")
        cached = (await stage.given("offset=1")).cached
        assert (cached.fields()["ETag"], cached.is_tail) == ('"9:closed"', False)
        names = ("Stream-Closed", "Stream-Up-To-Date")
        assert [cached.fields().getall(name) for name in names] == [["true"], ["true"]]
        assert cached.facts is not None
        assert cached.facts.closed


@pytest.mark.parametrize(
    ("told_by_304", "is_told"),
    [
        pytest.param([OFFSET, TAIL], True, id="a-304-that-says-so"),
        ([OFFSET], False),
        ([], True),
    ],
)
async def test_a_304_decides_whether_the_cached_response_is_up_to_date(
    told_by_304: list[str], is_told: bool
) -> None:
    told = [OFFSET, TAIL, 'ETag: "9"', SHORT]
    unchanged = answer(b"", *told_by_304, 'ETag: "9"', status="304 Not Modified")
    async with cache_before(answer(b"data", *told), unchanged) as (_, stage):
        await stage.get("offset=1")
        stage.clock.advance(2)
        given = await stage.given("offset=1")
        assert given.current
        fields = given.cached.fields()
        assert (fields.get("Stream-Up-To-Date") == "true") is is_told
        assert fields["ETag"] == ('"9:tail"' if is_told else '"9"')


async def test_the_original_tag_is_sent_back_to_the_origin() -> None:
    silent = answer(b"data", OFFSET, "ETag: unquoted", "Content-Type: text/plain")
    async with cache_before(silent, answer(status="304 Not Modified")) as (raw, stage):
        given = await stage.given("offset=1")
        assert given.cached.fields()["ETag"] == '"unquoted"'
        stage.clock.advance(61)
        assert (await stage.get("offset=1")).x_cache == "STALE"
        await until(lambda: len(raw.heard) == 2)
        assert "If-None-Match: unquoted" in raw.heard[1].fields


@pytest.mark.parametrize(
    "replaced",
    [
        pytest.param(answer(b"", status="404 Not Found"), id="by-a-404"),
        pytest.param(answer(b"secret", "Cache-Control: no-store"), id="by-no-store"),
    ],
)
@pytest.mark.parametrize("stale", ["stale-while-revalidate=300", "stale-if-error=300"])
async def test_a_response_replaced_by_the_origin_is_not_served_stale_again(
    replaced: bytes, stale: str
) -> None:
    first = answer(b"old", f"Cache-Control: max-age=1, {stale}", 'ETag: "a"')
    async with cache_before(first, replaced, close) as (_, stage):
        await stage.get()
        stage.clock.advance(2)
        await stage.get()
        await until(lambda: stage.find() is None)
        with pytest.raises(OriginBroken):
            await stage.get()


SWR = "Cache-Control: max-age=10, stale-while-revalidate=20"


async def test_a_stale_response_is_served_to_all_while_one_request_refreshes_it() -> None:
    second = Steps(b"", answer(b"new", SWR))
    async with cache_before(answer(b"old", SWR, 'ETag: "a"'), second) as (raw, stage):
        await stage.get()
        stage.clock.advance(29)
        given = await stage.given()
        assert given.cache.lines == (
            b"Age: 29\r\nX-Cache: STALE\r\nX-Cache-Hits: 1\r\n"
            b"Cache-Status: Headgate; hit; ttl=-19\r\n"
        )
        assert given.cached.body == b"old"
        readers = await asyncio.gather(*(stage.get() for _ in range(20)))
        assert {(reader.body, reader.x_cache) for reader in readers} == {(b"old", "STALE")}
        await until(lambda: second.sent == 1)
        second.go()
        await until(lambda: body_kept(stage) == b"new")
        fresh = await stage.get()
        assert (fresh.body, fresh.x_cache, fresh.age, fresh.hits) == (b"new", "HIT", 0, 22)
        assert len(raw.heard) == 2


async def test_a_stale_response_is_served_to_a_reader_whose_request_cannot_be_sent() -> None:
    async with cache_before(answer(b"old", SWR)) as (raw, stage):
        await stage.get()
        stage.clock.advance(15)
        reader = await stage.get("", ("X-Odd", "\udcff"))
        assert (reader.body, reader.x_cache, len(raw.heard)) == (b"old", "STALE", 1)


async def test_a_failed_refresh_leaves_the_stale_response_cached() -> None:
    scripts: list[bytes | Play] = [
        answer(b"old", SWR),
        answer(b"oops", status="500 Oops"),
        close,
        answer(b"new", SWR),
    ]
    async with cache_before(*scripts) as (raw, stage):
        await stage.get()
        stage.clock.advance(15)
        async with asyncio.timeout(PATIENCE_S):
            while (reader := await stage.get()).body == b"old":
                assert reader.x_cache == "STALE"
                await asyncio.sleep(0.001)  # the refresh goes on meanwhile
                stage.clock.advance(REFRESH_PAUSE_S / 100)
        assert (reader.body, reader.x_cache, len(raw.heard)) == (b"new", "HIT", 4)


@pytest.mark.parametrize(
    "failure",
    [
        close,
        pytest.param(answer(b"", status="500 Oops"), id="a-500"),
        pytest.param(answer(b"", status="503 Busy"), id="a-503"),
    ],
)
async def test_a_stale_response_stands_in_for_a_failing_origin(failure: bytes) -> None:
    first = answer(b"data", "Cache-Control: max-age=10, stale-if-error=20")
    async with cache_before(first, failure) as (_, stage):
        await stage.get()
        stage.clock.advance(29)
        given = await stage.given()
        assert given.cached.body == b"data"
        assert given.cache.lines == (
            b"Age: 29\r\nX-Cache: STALE\r\nX-Cache-Hits: 1\r\n"
            b"Cache-Status: Headgate; fwd=stale; detail=stale-if-error\r\n"
        )


@pytest.mark.parametrize("stale", ["stale-while-revalidate=300", "stale-if-error=300"])
@pytest.mark.parametrize(
    "failure", [close, pytest.param(answer(b"", status="503 Busy"), id="a-503")]
)
async def test_an_origin_that_failed_is_not_requested_again_during_the_rest_time(
    stale: str, failure: bytes | Play
) -> None:
    first = answer(b"old", f"Cache-Control: max-age=10, {stale}")
    async with cache_before(first, failure) as (raw, stage):
        await stage.get()
        stage.clock.advance(15)
        await stage.get()
        variant = stage.find()
        assert variant is not None
        await until(lambda: variant.rests_until > stage.clock())
        asked = len(raw.heard)  # one that was cut is repeated
        stage.clock.advance(REFRESH_PAUSE_S - 0.1)
        for _ in range(20):
            assert (await stage.get()).x_cache == "STALE"
        assert len(raw.heard) == asked
        raw.scripts = [answer(b"new", MINUTE)]
        stage.clock.advance(0.1)
        await stage.get()
        await until(lambda: body_kept(stage) == b"new")


@pytest.mark.parametrize(
    ("says", "seconds"), [(", stale-if-error=7", 7), (", stale-if-error=0", 0), ("", 20)]
)
async def test_stale_if_error_of_the_origin_applies_to_a_tail_response(
    says: str, seconds: int
) -> None:
    tail = answer(b"data", OFFSET, f"Cache-Control: max-age=60{says}", TAIL)
    async with cache_before(tail, close, stale_if_error=20) as (_, stage):
        await stage.get("offset=-1")
        stage.clock.advance(stage.cache.fetches.results.rules.freshness.tail_max_age)
        if seconds:
            stage.clock.advance(seconds - 1)
            assert (await stage.get("offset=-1")).x_cache == "STALE"
            stage.clock.advance(1)
        with pytest.raises(OriginBroken):
            await stage.get("offset=-1")


@pytest.mark.parametrize("seconds", [HIT_FOR_PASS_S - 1, HIT_FOR_PASS_S])
async def test_readers_do_not_wait_for_each_other_for_a_while_after_a_private_response(
    seconds: float,
) -> None:
    held = Steps(b"", answer(b"1", PRIVATE if seconds < HIT_FOR_PASS_S else MINUTE))
    async with cache_before(answer(b"0", PRIVATE), held, answer(b"2", PRIVATE)) as (_, stage):
        await stage.get()
        stage.clock.advance(seconds)
        waits = [asyncio.create_task(stage.get())]
        await until(lambda: held.sent == 1)
        waits.append(asyncio.create_task(stage.get()))
        if seconds < HIT_FOR_PASS_S:
            assert (await waits.pop()).body == b"2"
        held.go()
        assert {(await one).body for one in waits} == {b"1"}


async def test_readers_share_requests_again_after_a_cacheable_response() -> None:
    """A stream that was not found at first, or an origin that failed once."""
    held = Steps(b"", answer(b"2", MINUTE))
    scripts = (answer(status="404 Not Found"), answer(b"1", SHORT), held, answer(b"3", MINUTE))
    async with cache_before(*scripts) as (raw, stage):
        await stage.get()
        await stage.get()
        stage.clock.advance(2)
        waiting = [asyncio.create_task(stage.get()) for _ in range(2)]
        await until(lambda: held.sent == 1)
        held.go()
        assert [reader.body for reader in await asyncio.gather(*waiting)] == [b"2", b"2"]
        assert len(raw.heard) == 3


def variant(name: str) -> tuple[str, str]:
    return ("X-Kind", name)


def kinds(size: int = 0) -> Play:
    """Return a play that answers as X-Kind says."""

    async def play(wire: Wire) -> None:
        kind = wire.heard.named.get("x-kind", "").encode()
        await wire.send(answer(kind.ljust(size, b"."), MINUTE, "Vary: X-Kind"))

    return play


async def test_each_variant_has_a_separate_cached_response() -> None:
    async with cache_before(kinds()) as (raw, stage):
        for expected in ("MISS", "HIT"):
            for kind in ("a", "b", "c"):
                reader = await stage.get("", variant(kind))
                assert (reader.body, reader.x_cache) == (kind.encode(), expected)
        assert (len(raw.heard), len(stage.store)) == (3, 1)


@pytest.mark.parametrize("count", [MAX_VARIANTS - 1, MAX_VARIANTS, MAX_VARIANTS + 1])
async def test_the_variants_of_one_url_are_bounded(count: int) -> None:
    async with cache_before(kinds()) as (_, stage):
        for number in range(count):
            await stage.get("", variant(str(number)))
        bytes_then = stage.store.bytes
        newest_first = range(count - 1, -1, -1)
        hits = [(await stage.get("", variant(str(n)))).x_cache == "HIT" for n in newest_first]
        assert sum(hits) == min(count, MAX_VARIANTS)
        assert hits[: min(count, MAX_VARIANTS)] == [True] * min(count, MAX_VARIANTS)
        assert stage.store.bytes <= bytes_then + 100


async def test_variants_too_large_together_evict_the_oldest() -> None:
    async with cache_before(kinds(50_000), store_bytes=1 << 20) as (_, stage):
        for kind in ("a", "b", "c", "d"):  # an eighth of the store is enough for two
            await stage.get("", variant(kind))
        assert (await stage.get("", variant("d"))).x_cache == "HIT"


@pytest.mark.parametrize("vary", [["Vary: Accept-Encoding"], []])
async def test_a_compressed_response_is_not_served_to_readers_that_cannot_decode_it(
    vary: list[str],
) -> None:
    packed = answer(b"\x1f\x8b", MINUTE, "Content-Encoding: gzip", *vary)
    async with cache_before(packed, answer(b"plain", MINUTE, *vary)) as (_, stage):
        gzip = ("Accept-Encoding", "gzip")
        assert (await stage.get("", gzip)).body == b"\x1f\x8b"
        assert (await stage.get()).body == b"plain"
        assert (await stage.get("", gzip)).x_cache == "HIT"


SOMEBODY = [("Authorization", "Bearer a"), ("Cookie", "session=a")]


@pytest.mark.parametrize("credential", SOMEBODY)
async def test_only_a_response_marked_public_is_shared_with_identified_readers(
    credential: tuple[str, str],
) -> None:
    async with cache_before(answer(b"data", OFFSET)) as (raw, stage):
        assert (await stage.get("offset=1")).status_field == stored()
        assert (await stage.get("offset=1")).x_cache == "HIT"
        assert (await stage.get("offset=1", credential)).x_cache == "MISS"
        assert (await stage.get("offset=1", credential)).x_cache == "MISS"
        assert (await stage.get("offset=1")).x_cache == "HIT"
        assert len(raw.heard) == 3
    public = "Cache-Control: public, max-age=60"
    async with cache_before(answer(b"data", OFFSET, public)) as (_, stage):
        await stage.get("offset=1", credential)
        assert (await stage.get("offset=1")).x_cache == "HIT"


@pytest.mark.parametrize(("write", "told"), [("forget", ()), ("on_growth", (TailBound("9"),))])
async def test_a_fetch_under_way_at_a_write_is_neither_stored_nor_joined(
    write: str, told: tuple[TailBound, ...]
) -> None:
    old = Steps(b"", answer(b"old", MINUTE))
    async with cache_before(old, answer(b"new", MINUTE)) as (raw, stage):
        before = asyncio.create_task(stage.get())
        await until(lambda: old.sent == 1)
        getattr(stage.cache, write)(PATH, *told)
        assert (await stage.get()).body == b"new"
        old.go()
        miss = await before
        assert (miss.body, miss.status_field) == (b"old", unstored())
        hit = await stage.get()
        assert (hit.body, hit.x_cache) == (b"new", "HIT")
        assert len(raw.heard) == 2


async def test_a_refresh_under_way_during_a_write_is_not_cached() -> None:
    old = Steps(b"", answer(b"old", SWR))
    async with cache_before(answer(b"first", SWR), old, answer(b"new", SWR)) as (_, stage):
        await stage.get()
        stage.clock.advance(15)
        assert (await stage.get()).x_cache == "STALE"
        await until(lambda: old.sent == 1)
        stage.cache.forget(PATH)
        assert (await stage.get()).body == b"new"
        old.go()
        await until(lambda: old.sent == 2)
        for number in range(3):
            await stage.get(f"n={number}")  # by then what was sent before has come
        assert (await stage.get()).body == b"new"


@pytest.mark.parametrize(
    "end",
    [answer(b"tail", OFFSET, MINUTE, TAIL), answer(b"", OFFSET, MINUTE)],
    ids=["marked", "empty"],
)
async def test_a_growing_stream_loses_only_its_cached_tail(end: bytes) -> None:
    marked = answer(b"tail", OFFSET, MINUTE, TAIL)
    async with cache_before(marked, end, answer(b"data", OFFSET, MINUTE), marked) as (_, stage):
        for query in ("offset=4", "offset=5", "offset=1"):
            await stage.get(query)
        assert (await stage.get("offset=5")).x_cache == "HIT"
        stage.cache.on_growth(PATH, TailBound("9"))
        assert (await stage.get("offset=1")).x_cache == "HIT"
        assert (await stage.get("offset=5")).x_cache == "MISS"
        stage.cache.forget(PATH)
        assert (await stage.get("offset=1")).x_cache == "MISS"


async def test_any_cached_read_is_dropped_at_growth_if_the_origin_never_marks_the_tail() -> None:
    silent = answer(b"data", OFFSET, MINUTE)
    async with cache_before(silent) as (_, stage):
        for query in ("offset=1", "offset=9"):
            given = await stage.given(query)
            assert "Stream-Up-To-Date" not in given.cached.fields()
        stage.cache.on_growth(PATH, TailBound("9"))
        for query in ("offset=1", "offset=9"):
            assert (await stage.get(query)).x_cache == "MISS"


@pytest.mark.parametrize(
    ("tells", "written", "has_all"),
    [
        ([OFFSET], TailBound("9"), True),
        ([OFFSET], TailBound("8"), True),
        ([OFFSET], TailBound("91"), False),
        ([OFFSET], TailBound("9", closed=True), False),
        ([OFFSET, "Stream-Closed: true"], TailBound("9", closed=True), True),
        ([], TailBound("9"), False),
    ],
)
async def test_a_response_is_current_if_it_includes_the_writes_made_meanwhile(
    tells: list[str], written: TailBound, has_all: bool
) -> None:
    whole = answer(b"data", *tells, MINUTE, TAIL)
    head, body = whole[:-4], whole[-4:]
    slow = Steps(head, body)
    async with cache_before(slow, answer(b"later", *tells, MINUTE)) as (raw, stage):
        reading = asyncio.create_task(stage.given("offset=5"))
        await until(lambda: bool(raw.heard))
        stage.cache.on_growth(PATH, written)
        stage.cache.on_growth(PATH, TailBound("1"))  # another one is told of late
        slow.go()
        given = await reading
        assert (given.current, given.tail_is_known) == (has_all, has_all)
        assert (await stage.get("offset=5")).body == b"later"


async def test_a_response_begun_before_a_stream_was_dropped_is_not_current() -> None:
    whole = answer(b"data", OFFSET, MINUTE, TAIL)
    slow = Steps(whole[:-4], whole[-4:])
    async with cache_before(slow) as (raw, stage):
        reading = asyncio.create_task(stage.given("offset=5"))
        await until(lambda: bool(raw.heard))
        stage.cache.forget(PATH)
        stage.cache.on_growth(PATH, TailBound("9"))
        slow.go()
        assert not (await reading).current


async def test_a_write_at_another_path_leaves_the_cached_response() -> None:
    async with cache_before(answer(b"data", MINUTE)) as (_, stage):
        await stage.get()
        stage.cache.forget(f"{PATH}2")
        assert (await stage.get()).x_cache == "HIT"


async def test_a_cached_response_does_not_outlive_its_stream() -> None:
    async with cache_before(answer(b"data", OFFSET)) as (_, stage):
        lifetime = Lifetime(expires_at=stage.clock() + 30)
        given = await stage.answer(stage.request("offset=1", lifetime=lifetime))
        assert given.cached.fields()["Cache-Control"].startswith("public, max-age=30,")
        stage.clock.advance(29)
        assert (await stage.get("offset=1")).x_cache == "HIT"
        stage.clock.advance(1)
        assert (await stage.get("offset=1")).x_cache == "MISS"


async def test_a_read_that_extends_a_sliding_ttl_reaches_the_origin_each_time() -> None:
    async with cache_before(answer(b"data", OFFSET)) as (raw, stage):
        for _ in range(2):
            ask = stage.request("offset=1", lifetime=Lifetime(ttl_s=3600))
            assert (await stage.answer(ask)).cache.result == "MISS"
        assert len(raw.heard) == 2


@pytest.mark.parametrize("field", [MINUTE, "Cache-Control: no-store"])
async def test_a_complete_read_returns_a_body_up_to_the_size_limit(field: str) -> None:
    async with cache_before(answer(b"x" * 100_000, field)) as (raw, stage):
        given = await stage.cache.read(stage.request("offset=1"), 100_000)
        assert given.cached.body == b"x" * 100_000
        raw.scripts = [answer(b"x" * 100_001, field)]
        with pytest.raises(OriginBroken):
            await stage.cache.read(stage.request("offset=2"), 100_000)


async def test_closing_the_cache_fails_fetches_under_way() -> None:
    cached = Steps(b"", answer(b"data", MINUTE))
    async with RawOrigin(cached) as raw:
        stage: Stage
        async with staged(raw) as stage:
            waiting = asyncio.create_task(stage.get())
            await until(lambda: cached.sent == 1)
        with pytest.raises(OriginBroken):
            await waiting
