"""A purge that failed is tried again until it is done, is shown meanwhile, and is bounded."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.outbound import client
from headgate_gateway.outbound.client import READ_BYTES, OutboundClient
from headgate_gateway.purge import purger as of_purger
from headgate_gateway.purge.drivers import Call, driver_of
from headgate_gateway.purge.purge_queue import GIVE_UP_S, Copies
from headgate_gateway.purge.purger import Purger
from headgate_gateway.purge.purges import Purges, longest_copy_s
from headgate_gateway.settings import PurgedCache, Route
from headgate_gateway.telemetry.health import by_name
from tests.purge.double import NOW_S, SUCCESS, Double, file_of, refusal
from tests.support.gated_log import turns
from tests.support.log_lines import capture_logs
from tests.support.manual_clock import ManualClock
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer, close
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.raw_origin import Play

X, Y, Z = (Copies("/r", f"/r/{name}") for name in "xyz")
QUICK_S = 0.01


class Cache:
    """A purger at work, before a double."""

    def __init__(self, url: str, retry_for_s: float) -> None:
        given = {"kind": "cloudflare", "url": url, "zone": "z", "token_file": file_of("t0ken")}
        self.clock = ManualClock()
        driver = driver_of(PurgedCache.of(given), lambda: NOW_S)
        self.purger = Purger(driver, self.clock, retry_for_s=retry_for_s)
        self.counts = self.purger.counts


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", QUICK_S)


@asynccontextmanager
async def working(url: str, *, retry_for_s: float = GIVE_UP_S) -> AsyncIterator[Cache]:
    cache = Cache(url, retry_for_s)
    outbound = OutboundClient("purge")
    task = asyncio.create_task(cache.purger.run(outbound))
    try:
        yield cache
        cache.purger.stop()
        await task
    finally:
        task.cancel()
        await outbound.close()


def sentence(cache: Cache) -> str:
    cause = cache.purger.cause()
    assert cause is not None
    return cause.sentence


async def test_a_failed_purge_is_retried_until_it_is_done_and_logged_once() -> None:
    with capture_logs() as lines:
        async with Double() as double, working(double.url) as cache:
            double.answers = [refusal("500 Oops")] * 3
            cache.purger.purge(X)
            await until(lambda: cache.counts["failed"] >= 1)
            shown = sentence(cache)
            await until(lambda: cache.counts["done"] == 1)
            assert shown == (
                "it answers 500; purges that wait: 1, and readers may get what was deleted"
            )
            assert cache.purger.cause() is None
            assert cache.counts == {"failed": 3, "done": 1}
            assert [call.body for call in double.calls] == [double.calls[0].body] * 4
    assert lines == [
        {
            "event": "purge.failed",
            "log_level": "warning",
            "cache": "cloudflare",
            "place": "z",
            "reason": "answers 500",
            "waiting": 1,
        },
        {
            "event": "purge.recovered",
            "log_level": "info",
            "cache": "cloudflare",
            "place": "z",
        },
    ]
    assert "t0ken" not in str(lines)


async def test_a_purge_is_retried_until_the_server_of_the_cache_is_up() -> None:
    port = free_port()
    async with working(f"http://localhost:{port}") as cache:
        cache.purger.purge(X)
        await until(lambda: cache.counts["failed"] >= 2)
        assert sentence(cache).startswith("it cannot be connected to: Connection refused; purges")
        async with Double(port):
            await until(lambda: cache.counts["done"] == 1)


async def test_a_purge_call_without_a_response_fails_at_its_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_purger, "CALL_S", 0.05)
    async with Double() as double, working(double.url) as cache:
        double.goes.clear()
        cache.purger.purge(X)
        await until(lambda: cache.counts["failed"] >= 1)
        assert sentence(cache).startswith("it did not answer within 0.05 s")
        double.goes.set()


async def break_off(wire: Wire) -> None:
    await wire.send(answer(SUCCESS)[:-1])
    await wire.close()


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        pytest.param(close, "it closed the connection without a response", id="leaves"),
        pytest.param(Steps(b"SMTP\r\n\r\n"), "it sent no valid response of HTTP/1.1", id="no-http"),
        pytest.param(break_off, "it sent a response that is not complete", id="breaks-off"),
    ],
)
async def test_a_purge_call_that_breaks_off_fails_with_a_reason_in_words(
    play: Play, reason: str
) -> None:
    async with RawOrigin(play) as origin, working(origin.url) as cache:
        if isinstance(play, Steps):
            play.go()
        cache.purger.purge(X)
        await until(lambda: cache.counts["failed"] >= 1)
        assert sentence(cache).startswith(f"{reason}; purges that wait: 1")


async def test_purges_that_arrive_before_a_retry_are_sent_in_the_same_call() -> None:
    async with Double() as double, working(double.url) as cache:
        double.answers = [refusal("503 Later")]
        cache.purger.purge(X)
        await until(lambda: len(double.calls) == 1)
        for copies in (Y, X, Z, Y):
            cache.purger.purge(copies)
        await until(lambda: cache.counts["done"] == 3)
        _, call = double.calls
        told = call.json
        assert isinstance(told, dict)
        assert sorted(told["tags"]) == sorted([X.tag, Y.tag, Z.tag])


async def test_a_stream_deleted_again_during_its_purge_is_purged_again() -> None:
    async with Double() as double, working(double.url) as cache:
        double.goes.clear()
        cache.purger.purge(X)
        await until(lambda: len(double.calls) == 1)
        cache.purger.purge(X)
        double.goes.set()
        await until(lambda: cache.counts["done"] == 2)
        assert [call.json for call in double.calls] == [{"tags": [X.tag]}] * 2


async def test_a_retry_after_header_delays_the_next_purge_call() -> None:
    async with Double() as double, working(double.url) as cache:
        double.answers = [refusal("429 Slow Down", "Retry-After: 1")]
        began = asyncio.get_running_loop().time()
        cache.purger.purge(X)
        await until(lambda: cache.counts["done"] == 1)
        assert 1 <= asyncio.get_running_loop().time() - began < 20


@pytest.mark.parametrize(
    "text", ["soon", "-5", "²", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999", "123456789x"]
)
async def test_an_invalid_retry_after_header_does_not_delay_the_retry_for_long(text: str) -> None:
    field = f"Retry-After: {text}".encode().decode("latin-1")
    async with Double() as double, working(double.url) as cache:
        double.answers = [refusal("429 Slow Down", field)]
        cache.purger.purge(X)
        if text.isdigit() and text.isascii():  # ten minutes at most: it is tried when we stop
            await until(lambda: cache.counts["failed"] == 1)
        else:
            await until(lambda: cache.counts["done"] == 1)
    assert cache.counts["done"] == 1


WEEK_S = 7 * 86_400.0


@pytest.mark.parametrize(
    ("retry_for_s", "passed", "abandoned"),
    [
        (GIVE_UP_S, GIVE_UP_S, 0),
        (GIVE_UP_S, GIVE_UP_S + 1, 1),
        (WEEK_S, GIVE_UP_S + 1, 0),
        (WEEK_S, WEEK_S, 0),
        (WEEK_S, WEEK_S + 1, 1),
    ],
)
async def test_a_failed_purge_is_abandoned_when_the_cached_copies_have_expired(
    retry_for_s: float, passed: float, abandoned: int
) -> None:
    with capture_logs() as lines:
        async with Double() as double, working(double.url, retry_for_s=retry_for_s) as cache:
            double.goes.clear()
            double.answers = [refusal("500 Oops")]
            cache.purger.purge(X)
            await until(lambda: len(double.calls) == 1)
            cache.clock.advance(passed)
            double.goes.set()
            await until(lambda: cache.counts["failed"] == 1)
    assert cache.counts["abandoned"] == abandoned
    assert cache.counts["done"] == 1 - abandoned
    assert [line["purges"] for line in lines if line["event"] == "purge.abandoned"] == (
        [1] * abandoned
    )


async def test_a_second_deletion_keeps_a_purge_from_being_abandoned() -> None:
    async with Double() as double, working(double.url) as cache:
        double.goes.clear()
        double.answers = [refusal("500 Oops")]
        cache.purger.purge(X)
        await until(lambda: len(double.calls) == 1)
        cache.clock.advance(GIVE_UP_S - 1)
        cache.purger.purge(X)
        cache.clock.advance(2)
        double.goes.set()
        await until(lambda: cache.counts["done"] == 1)
    assert cache.counts["abandoned"] == 0


@pytest.mark.parametrize(
    ("routes", "kept_s"),
    [
        ([{"storage": "memory:"}], GIVE_UP_S),
        ([{"origin": "http://o", "chunk_max_age": 0}], GIVE_UP_S),
        ([{"storage": "file:/x"}], GIVE_UP_S + 300),
        pytest.param(
            [{"storage": "memory:", "chunk_max_age": 604_800}, {"storage": "file:/x"}],
            WEEK_S + 300,
            id="a-week-of-chunks-beside-a-file",
        ),
        pytest.param(
            [{"storage": "memory:", "stale_while_revalidate": 604_800}],
            WEEK_S + 60,
            id="a-week-of-stale-use",
        ),
    ],
)
def test_cached_copies_last_as_long_as_the_route_with_the_longest_lifetime(
    routes: list[dict[str, object]], kept_s: float
) -> None:
    given = [Route.of({"prefix": f"/{number}", **route}) for number, route in enumerate(routes)]
    assert longest_copy_s(given) == kept_s


async def test_an_unexpected_exception_is_a_failed_purge_logged_once_and_is_retried() -> None:
    def fail(_copies: object) -> Call:
        raise ZeroDivisionError

    with capture_logs() as lines:
        async with Double() as double, working(double.url) as cache:
            driver = cache.purger.driver
            cache.purger.driver = driver._replace(call=fail)
            cache.purger.purge(X)
            await until(lambda: cache.counts["failed"] >= 2)
            assert sentence(cache) == (
                "it could not be asked (ZeroDivisionError); purges that wait: 1, and readers may "
                "get what was deleted"
            )
            cache.purger.driver = driver
            await until(lambda: cache.counts["done"] == 1)
            assert cache.purger.cause() is None
    told = [(line["event"], line.get("exc_info", False)) for line in lines]
    assert told == [("purge.broken", True), ("purge.failed", False), ("purge.recovered", False)]


async def test_a_purge_answer_in_two_pieces_counts_as_done() -> None:
    whole = answer(SUCCESS)
    played = Steps(whole[:-20], whole[-20:])
    async with RawOrigin(played) as origin, working(origin.url) as cache:
        cache.purger.purge(X)
        await until(lambda: played.sent == 1)
        await turns(100)  # until the first piece has come
        assert not cache.counts
        played.go()
        await until(lambda: cache.counts["done"] == 1)


async def test_reading_an_endless_purge_response_stops_at_the_limit() -> None:
    async def play(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not wire.is_closing():
            await wire.send(b" " * READ_BYTES)

    async with RawOrigin(play) as origin, working(origin.url) as cache:
        cache.purger.purge(X)
        await until(lambda: cache.counts["failed"] >= 1)
        assert sentence(cache).startswith("it answers with what is no JSON")


async def test_beyond_the_limit_the_whole_route_is_purged_and_a_line_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_purger, "MOST_WAITING", 2)
    with capture_logs() as lines:
        async with Double() as double, working(double.url) as cache:
            double.goes.clear()
            cache.purger.purge(X)
            await until(lambda: len(double.calls) == 1)
            for number in range(4):
                cache.purger.purge(Copies("/r", f"/r/{number}"))
                assert len(cache.purger.queue) <= 2
            double.goes.set()
            await until(lambda: cache.counts["done"] == 2)
            assert double.calls[1].json == {"tags": [Copies("/r").tag]}
    assert cache.counts["widened"] == 3
    assert [line["event"] for line in lines] == ["purge.widened"]


async def test_a_stop_waits_for_pending_purges() -> None:
    async with Double() as double:
        async with working(double.url) as cache:
            double.goes.clear()
            cache.purger.purge(X)
            await until(lambda: len(double.calls) == 1)
            cache.purger.purge(Y)
            cache.purger.stop()
            double.goes.set()
        assert cache.counts["done"] == 2


async def test_a_stop_waits_for_the_settle_time_of_a_second_deletion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle_s = 1 / 16
    monkeypatch.setattr(of_purger, "SETTLE_S", settle_s)
    async with Double() as double:
        async with working(double.url) as cache:
            cache.purger.purge(X)
            cache.clock.advance(settle_s)
            cache.purger.purge(X)
            await until(lambda: cache.counts["done"] == 1)
            cache.purger.stop()
            await turns()
            assert cache.purger.queue.undone == 1
            cache.clock.advance(settle_s)
        assert cache.counts["done"] == len(double.calls) == 2


async def test_a_failing_purge_is_repeated_at_most_twice_by_a_stop_and_logged_as_abandoned() -> (
    None
):
    with capture_logs() as lines:
        async with Double() as double:
            double.last = refusal("500 Oops")
            given = {
                "kind": "cloudflare",
                "url": double.url,
                "zone": "z",
                "token_file": file_of("t0ken"),
            }
            purges = Purges([PurgedCache.of(given)], lambda: 0.0, wall_clock=lambda: NOW_S)
            purges.open()
            purges.purge("/r", "/r/x")
            await until(lambda: len(lines) == 1)  # it has failed
            await asyncio.wait_for(purges.drain(), 10)
            await purges.close()
            assert 1 < len(double.calls) <= 3
    told = [(line["event"], line.get("purges")) for line in lines]
    assert told == [("purge.failed", None), ("purge.abandoned", 1)]


async def test_a_purge_call_cut_by_a_stop_is_logged_as_abandoned() -> None:
    with capture_logs() as lines:
        async with Double() as double:
            double.goes.clear()
            given = {"kind": "varnish", "url": double.url}
            purges = Purges([PurgedCache.of(given)], lambda: 0.0, wall_clock=lambda: NOW_S)
            purges.open()
            purges.purge("/r", "/r/x")
            await until(lambda: len(double.calls) == 1)
            await purges.close()
            double.goes.set()
    assert [(line["event"], line["purges"]) for line in lines] == [("purge.abandoned", 1)]


async def test_without_configured_caches_a_purge_does_nothing() -> None:
    purges = Purges((), lambda: 0.0, wall_clock=lambda: NOW_S)
    purges.open()
    purges.purge("/r", "/r/x")
    await purges.drain()
    await purges.close()
    assert (by_name(purges.notes()), purges.samples()) == ({}, ())


async def test_a_purge_call_waits_for_the_settle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    settle_s, loop = 0.3, asyncio.get_running_loop()
    monkeypatch.setattr(of_purger, "SETTLE_S", settle_s)
    async with Double() as double:
        given = {
            "kind": "cloudflare",
            "url": double.url,
            "zone": "z",
            "token_file": file_of("t0ken"),
        }
        purges = Purges([PurgedCache.of(given)], loop.time, wall_clock=lambda: NOW_S)
        purges.open()
        began = loop.time()
        purges.purge("/r", "/r/x")
        await until(lambda: len(double.calls) == 1)
        assert loop.time() - began >= settle_s
        purges.purge("/r", "/r/y")  # also where it comes while a call is under way
        began = loop.time()
        await until(lambda: len(double.calls) == 2)
        assert loop.time() - began >= settle_s
        await purges.close()


async def test_a_second_deletion_has_its_full_settle_time_and_does_not_delay_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle_s = 1 / 16
    monkeypatch.setattr(of_purger, "SETTLE_S", settle_s)
    async with Double() as double, working(double.url) as cache:
        cache.purger.purge(X)
        cache.clock.advance(settle_s / 2)
        cache.purger.purge(X)
        cache.clock.advance(settle_s / 2)
        await until(lambda: cache.counts["done"] == 1)
        assert cache.purger.queue.undone == 1
        cache.clock.advance(settle_s / 2)
        await until(lambda: cache.counts["done"] == 2)
        assert cache.purger.queue.undone == 0
        assert len(double.calls) == 2
