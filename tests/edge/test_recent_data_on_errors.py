"""What live readers were told stands in while the origin fails, as far as a kept answer would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.reads.decision import LATELY_S
from headgate_gateway.edge.reads.http_cache import REFRESH_PAUSE_S
from tests.edge.live_readers import S, at, following, live, news, polling, up_to
from tests.support.raw_origin import answer, reset
from tests.support.serving import Serving, get
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.http1 import Answer
    from tests.support.live_origin import LiveOrigin
    from tests.support.raw_origin import Play

WAYS = pytest.mark.parametrize("way", ["X-Fast: 1", "X-Request-Id:a"])  # without a task, and with
FAILURES: dict[str, bytes | Play] = {
    "resets": reset,
    "nonsense": b"nonsense\r\n\r\n",
    **{
        status: answer(b"wrong", status=f"{status} Oops") for status in ("500", "502", "503", "504")
    },
}
READ = f"{S}?offset=0001"


async def followed(origin: LiveOrigin, gateway: Serving, *lines: str) -> None:
    """A viewer has been told of what follows 0001, and nobody has read it."""
    viewer = await following(gateway, "0001", *lines)
    await origin.polled(1)
    origin.append(b"b")
    assert await up_to(viewer, "0002") == "b"
    await origin.polled(2)


async def fail(origin: LiveOrigin, gateway: Serving, failure: bytes | Play = reset) -> None:
    """From now on, also for the poll that waits."""
    origin.answer_all(failure)
    streams = [*gateway.edge.feeds.table.by_key.values()]
    await until(lambda: not any(stream.state.certainty for stream in streams))


def stands_in(got: Answer) -> bool:
    """Whether it is what was told before, and says no more than that."""
    assert got.get("X-Cache") != "STALE" or got.get("Stream-Up-To-Date") is None
    return news(got) == (200, b"b", "0002", None) and got.get("X-Cache") == "STALE"


@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
@pytest.mark.parametrize("first", [following, polling])
async def test_a_stream_followed_when_it_was_empty_is_known_from_its_beginning(
    first: Callable[..., Awaitable[object]], content_type: str
) -> None:
    async with live(content_type=content_type) as (origin, gateway):
        await first(gateway, "-1")
        await origin.polled(1)
        origin.append(b"1")
        await origin.polled(2)
        await fail(origin, gateway)
        for read in (f"{S}?offset=-1", S):
            got = await gateway.ask(get(read))
            assert (got.status, got.get("X-Cache")) == (200, "STALE")
            assert got.get("Stream-Next-Offset") == "0001"


@WAYS
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_recent_data_of_a_followed_stream_stand_in_for_a_failing_origin(
    failure: bytes | Play, way: str
) -> None:
    async with live(b"a") as (origin, gateway):
        await followed(origin, gateway)
        gateway.clock.advance(9)
        await fail(origin, gateway, failure)
        got = await gateway.ask(get(READ, way))
        assert stands_in(got)
        assert got.get("Cache-Status") == "Headgate; fwd=uri-miss; detail=stale-if-error"
        assert got.get("Age") == "9"
        tag = got.get("ETag") or ""
        assert tag
        assert not tag.endswith(':tail"')
        assert got.get("Cache-Control") == "no-cache, s-maxage=1, stale-while-revalidate=0"
        asked = gateway.edge.cache.fetches.started  # by reads: the feed compares in its own time
        for _ in range(3):  # it has just failed
            again = await gateway.ask(get(READ, way))
            assert stands_in(again)
            assert again.get("Cache-Status") == "Headgate; hit; ttl=-8; detail=stale-if-error"
        assert gateway.edge.cache.fetches.started == asked


async def test_an_empty_tail_response_does_not_stand_in_for_a_failing_origin() -> None:
    """An answer that says so may be kept, but not beyond its time."""
    async with live(b"a") as (origin, gateway):
        for _ in range(2):
            assert news(await gateway.ask(get(READ))) == (200, b"", "0001", "true")
        origin.instead = reset
        gateway.clock.advance(9)
        for _ in range(2):
            assert (await gateway.ask(get(READ))).status == 502


async def test_recent_data_that_stand_in_support_ranges_and_304() -> None:
    async with live(b"a") as (origin, gateway):
        await followed(origin, gateway)
        await fail(origin, gateway)
        tag = (await gateway.ask(get(READ))).get("ETag")
        got = await gateway.ask(get(READ, f"If-None-Match: {tag}"))
        assert (got.status, got.get("X-Cache")) == (304, "STALE")
        part = await gateway.ask(get(READ, "Range: bytes=0-0"))
        assert (part.status, part.body) == (206, b"b")


@pytest.mark.parametrize(
    "says",
    [
        "Cache-Control: no-store",
        "Cache-Control: private, max-age=9",
        "Cache-Control: max-age=9, must-revalidate",
        "Cache-Control: max-age=9, proxy-revalidate",
        "Cache-Control: no-cache",
        "Cache-Control: max-age=9, stale-if-error=0",
        "Cache-Control: max-age=0",
        "Vary: *",
    ],
)
@pytest.mark.parametrize("of", ["says", "says_of_reads"])
async def test_recent_data_do_not_stand_in_if_the_origin_forbids_stale_use(
    says: str, of: str
) -> None:
    async with live(b"a") as (origin, gateway):
        lines = [says, "Cache-Control: max-age=9"] if says.startswith("Vary") else [says]
        setattr(origin, of, lines)
        if of == "says_of_reads":
            viewer = await following(gateway, "-1")
            assert await up_to(viewer, "0001") == "a"
        await followed(origin, gateway)
        await fail(origin, gateway)
        gateway.clock.advance(9)
        assert (await gateway.ask(get(READ))).status == 502


@pytest.mark.parametrize(("says", "seconds"), [("", 300), (", stale-if-error=7", 7)])
async def test_recent_data_stand_in_for_the_stale_if_error_time(says: str, seconds: int) -> None:
    async with live(b"a") as (origin, gateway):
        origin.says = [f"Cache-Control: max-age=60{says}"]
        await followed(origin, gateway)
        await fail(origin, gateway)
        lifetime = gateway.edge.feeds.origin.freshness.tail_max_age  # of what has reached the tail
        gateway.clock.advance(lifetime + seconds - 1)
        assert stands_in(await gateway.ask(get(READ)))
        gateway.clock.advance(1)
        assert (await gateway.ask(get(READ))).status == 502


@pytest.mark.parametrize(("says", "status"), [("", 502), ("Cache-Control: public, max-age=9", 200)])
async def test_recent_data_of_a_reader_with_credentials_stand_in_only_if_public(
    says: str, status: int
) -> None:
    async with live(b"a") as (origin, gateway):
        origin.says = [says] if says else []
        await followed(origin, gateway, "Cookie: a=1")
        await fail(origin, gateway)
        assert (await gateway.ask(get(READ, "Cookie: a=1"))).status == status
        assert (await gateway.ask(get(READ, "Cookie: b=1"))).status == 502
        assert (await gateway.ask(get(READ))).status == 502


async def test_recent_data_do_not_stand_in_for_reads_at_the_tail() -> None:
    async with live(b"a") as (origin, gateway):
        await followed(origin, gateway)
        await fail(origin, gateway)
        for offset in ("0002", "now"):
            assert (await gateway.ask(get(f"{S}?offset={offset}"))).status == 502


async def test_recent_data_stand_in_before_an_older_cached_response() -> None:
    async with live(b"a") as (origin, gateway):
        origin.says_of_reads = ["Cache-Control: max-age=10"]
        whole = get(f"{S}?offset=-1")
        await followed(origin, gateway)
        origin.longest = 1
        assert news(await gateway.ask(whole)) == (200, b"a", "0001", None)
        gateway.clock.advance(20)
        await fail(origin, gateway)
        got = await gateway.ask(whole)
        assert news(got) == (200, b"ab", "0002", None)
        assert got.get("Cache-Status") == "Headgate; fwd=stale; detail=stale-if-error"


@WAYS
async def test_a_failing_origin_is_requested_again_while_readers_get_recent_data(
    way: str,
) -> None:
    async with live(b"a") as (origin, gateway):
        await followed(origin, gateway)
        origin.says_of_reads = ["Cache-Control: max-age=60"]
        await fail(origin, gateway)
        assert stands_in(await gateway.ask(get(READ, way)))
        gateway.clock.advance(REFRESH_PAUSE_S)
        asked = origin.catch_ups.count(READ)
        assert stands_in(await gateway.ask(get(READ, way)))
        await until(lambda: origin.catch_ups.count(READ) > asked)
        (stream,) = gateway.edge.feeds.table.by_key.values()
        await until(lambda: stream.rests_until > gateway.clock())
        origin.instead = None
        gateway.clock.advance(LATELY_S + REFRESH_PAUSE_S)
        got = await gateway.ask(get(READ, way))
        assert news(got)[:3] == (200, b"b", "0002")
        assert got.get("X-Cache") != "STALE"


@pytest.mark.usefixtures("quick_retries")
async def test_a_poll_at_the_tail_is_a_502_and_not_answered_from_recent_data() -> None:
    async with live(b"a", long_poll_timeout=0.1) as (origin, gateway):
        await followed(origin, gateway)
        await fail(origin, gateway)
        await until(
            lambda: next(iter(gateway.edge.feeds.table.by_key.values())).feed.lost is not None
        )
        got = await gateway.ask(get(at("0002")))
        assert got.status == 502
