"""A run with known requests gives exactly their numbers, whichever way each of them goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol.cursors import INTERVAL_S, LONG_OVER, current_cursor
from gateway.web.metrics import snapshot
from gateway.web.router import Router
from tests.edge.live_readers import at, following, live, polling
from tests.support.gated_log import GatedLog, turns
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.serving import (
    EDGE,
    PREFIX,
    Serving,
    edge_serving,
    get,
    offset,
    post,
    put,
    request,
    serving,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.telemetry.metrics import Distribution
    from tests.support.http1 import Client

ORDINARY = "X-Request-Id:mine"  # what is not answered on the fast path
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def numbers(gateway: Serving, name: str, route: str = PREFIX) -> dict[str, float]:
    """A metric's samples of a route that are not zero, by the values of their other labels."""
    routes = Router([gateway.route, *gateway.edges])
    return {
        " ".join(sample.values[1:]): sample.number
        for sample in snapshot(gateway.shared, routes)
        if sample.metric.name == name and sample.values[0] == route and sample.number
    }


def distribution(gateway: Serving, name: str, *values: str) -> Distribution:
    routes = Router([gateway.route, *gateway.edges])
    (found,) = (
        sample.distribution
        for sample in snapshot(gateway.shared, routes)
        if sample.metric.name == name and sample.values == values
    )
    assert found is not None
    return found


def collapsed_readers(gateway: Serving) -> float:
    """How many readers of an origin's answers were counted."""
    return distribution(gateway, "headgate_collapsed_readers", EDGE).sum


def total(counts: Mapping[str, float], *beginnings: str) -> float:
    """The sum over those whose labels begin so."""
    return sum(number for labels, number in counts.items() if labels.startswith(beginnings))


def refusals(gateway: Serving) -> dict[str, float]:
    """By limit, those that are not zero."""
    routes = Router([gateway.route, *gateway.edges])
    return {
        sample.values[0]: sample.number
        for sample in snapshot(gateway.shared, routes)
        if sample.metric.name == "headgate_refusals_total" and sample.number
    }


async def told(client: Client, events: int) -> None:
    """Wait until a reader has so many events."""
    await client.events_until(lambda received: len(received) == events)


READS = ("read", "long_poll", "sse")


async def test_metrics_of_reads_of_a_log_are_exact() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        await gateway.ask(put("s", body=b"one"))
        assert (await gateway.ask(get("s"))).get("X-Cache") == "MISS"
        for _ in range(3):
            await gateway.ask(get("s"))
        await gateway.ask(get("s", ORDINARY))
        await gateway.ask(get("s", f"If-None-Match: {(await gateway.ask(get('s'))).get('ETag')}"))
        await gateway.ask(get("s?offset=now"))
        await gateway.ask(get("none"))
        await gateway.ask(get("s?offset=wrong"))
        foreign = await gateway.ask(get(f"s?offset={offset(1, generation=7)}"))
        assert foreign.status in {400, 410}
        await gateway.ask(put("t", body=b"four"))
        log.reads.clear()
        clients = [await gateway.connect() for _ in range(3)]
        for client in clients:
            client.send(get(f"t?offset={offset(0)}"))
        await until(lambda: gateway.route.reads.answers.joined == 2)
        log.reads.set()
        assert [(await client.answer()).body for client in clients] == [b"four"] * 3
        await gateway.ask(post("t", b"", "Stream-Closed: true"))
        for _ in range(2):  # the second one is kept
            await gateway.ask(get(f"t?offset={offset(4)}"))

        assert numbers(gateway, "headgate_cache_results_total") == {
            "hit": 3 + 1 + 1 + 1 + 1,
            "miss": 1 + 1 + 1,
            "bypass": 1 + 1,  # from the tail, and of no stream
            "collapsed": 2,
        }
        counts = numbers(gateway, "headgate_requests_total")
        assert counts == {
            "read 2xx": 6 + 1 + 3 + 2,
            "read 3xx": 1,
            "read 4xx": 3,
            "create 2xx": 2,
            "close 2xx": 1,
        }
        refused = 2
        assert total(counts, *READS) - refused == sum(
            numbers(gateway, "headgate_cache_results_total").values()
        )
        assert numbers(gateway, "headgate_resumes_total") == {
            "start": 1 + 3 + 1 + 2,
            "offset": 3,
            "gap": 1,
            "terminal": 2,
        }
        shared = distribution(gateway, "headgate_collapsed_readers", PREFIX)
        assert (sum(shared.counts), shared.sum) == (3, 1 + 3 + 1)
        timed = distribution(gateway, "headgate_request_duration_seconds", PREFIX, "read")
        assert sum(timed.counts) == total(counts, "read")
        assert timed.sum > 0


async def test_a_read_refused_by_a_limit_is_not_counted_as_a_cache_result() -> None:
    async with serving(max_live_readers=0) as gateway:
        await gateway.ask(put("s"))
        for live in ("sse", "long-poll"):
            assert (await gateway.ask(get(f"s?offset=now&live={live}"))).status == 503
        assert total(numbers(gateway, "headgate_requests_total"), *READS) == 2
        assert numbers(gateway, "headgate_cache_results_total") == {}


async def test_cached_404s_are_counted_by_their_status() -> None:
    refusal = answer(b"none", "Cache-Control: max-age=60", status="404 Not Found")
    async with RawOrigin(refusal) as origin, edge_serving(origin) as gateway:
        for _ in range(3):
            await gateway.ask(get(f"{EDGE}/s"))
        await gateway.ask(get(f"{EDGE}/s", ORDINARY))
        assert gateway.fast.answered == 2
        assert numbers(gateway, "headgate_requests_total", EDGE) == {"read 4xx": 4}
        assert numbers(gateway, "headgate_cache_results_total", EDGE) == {"miss": 1, "hit": 3}


async def test_metrics_of_writes_and_refusals_are_exact() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        assert (await gateway.ask(post("s", b"one"))).status == 204
        assert (await gateway.ask(post("s", b"four", ORDINARY))).status == 204
        refused = await gateway.ask(post("s", b"{}", content_type="application/json"))
        missing = await gateway.ask(post("t", b"x"))
        empty = await gateway.ask(post("s", b""))
        await gateway.ask(request("HEAD", "s"))
        await gateway.ask(request("OPTIONS", "s"))
        patched = await gateway.ask(request("PATCH", "s"))
        await gateway.ask(post("s", b"!", "Stream-Closed: true"))
        await gateway.ask(request("DELETE", "s"))
        lost = await gateway.ask(get("/elsewhere"))
        broken = await gateway.ask(b"NO HTTP\r\n\r\n")
        assert numbers(gateway, "headgate_requests_total") == {
            "create 2xx": 1,
            "append 2xx": 2,
            "append 4xx": 3,
            "head 2xx": 1,
            "options 2xx": 1,
            "other 4xx": 1,
            "close 2xx": 1,
            "delete 2xx": 1,
        }
        assert numbers(gateway, "headgate_requests_total", "none") == {
            "read 4xx": 1,
            "other 4xx": 1,
        }
        sent = sum(len(got.body) for got in (refused, missing, empty, patched))
        assert numbers(gateway, "headgate_response_bytes_total") == {"": sent}
        assert gateway.shared.unrouted.response_bytes == len(lost.body) + len(broken.body)
        assert numbers(gateway, "headgate_request_bytes_total") == {"": 3 + 4 + 2 + 1 + 1}


async def test_metrics_of_live_readers_of_a_log_are_exact() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(get("s"))
        poll = f"s?offset={offset(3)}&live=long-poll"
        polls = [await gateway.connect() for _ in range(3)]
        polls[0].send(get(poll, ORDINARY))
        for client in polls[1:]:
            client.send(get(poll))
        readers = [await gateway.connect() for _ in range(2)]
        for client in readers:
            client.send(get("s?offset=-1&live=sse"))
            await client.answer()
            await told(client, 2)
        leaver = await gateway.connect()
        leaver.send(get(poll))
        await until(lambda: gateway.limits.live_readers == 6)
        assert numbers(gateway, "headgate_live_readers") == {"sse": 2, "long_poll": 4}
        assert numbers(gateway, "headgate_feeds") == {"": 1}
        leaver.abort()
        await until(lambda: gateway.limits.live_readers == 5)
        parent = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"
        await gateway.ask(post("s", b"four", parent))
        for client in polls:
            assert (await client.answer()).body == b"four"
        events = 0
        for client in readers:
            await told(client, 4)
            events += len(client.received)
        for client in readers:
            client.abort()
        await until(lambda: gateway.limits.live_readers == 0)

        assert numbers(gateway, "headgate_live_reader_joins_total") == {"sse": 2, "long_poll": 4}
        assert numbers(gateway, "headgate_live_reader_leaves_total") == {
            "sse client": 2,
            "long_poll client": 1,
            "long_poll answered": 3,
        }
        assert numbers(gateway, "headgate_live_readers") == {}
        assert numbers(gateway, "headgate_deliveries_total") == {"sse": 2 + 2, "long_poll": 3}
        assert numbers(gateway, "headgate_delivered_bytes_total") == {
            "sse": events,
            "long_poll": 3 * 4,
        }
        assert numbers(gateway, "headgate_response_bytes_total") == {"": 3 + 3 * 4 + events}
        assert numbers(gateway, "headgate_requests_total") == {
            "create 2xx": 1,
            "read 2xx": 1,
            "append 2xx": 1,
            "long_poll 2xx": 3,
            "long_poll cut": 1,
            "sse 2xx": 2,
        }
        assert numbers(gateway, "headgate_cache_results_total") == {"miss": 1, "collapsed": 6}
        assert numbers(gateway, "headgate_resumes_total") == {"start": 3, "offset": 3}
        delay = distribution(gateway, "headgate_delivery_seconds", PREFIX)
        assert sum(delay.counts) == 3 + 2
        assert {traced.trace_id for traced in delay.traced.values()} == {TRACE}


async def test_the_reason_for_the_end_of_a_live_read_is_counted() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        gateway.polls_wait(0.01)
        over = await gateway.ask(get(f"s?offset={offset(0)}&live=long-poll"))
        assert over.status == 204
        gateway.polls_wait(30)
        poll, reader = [await gateway.connect() for _ in range(2)]
        poll.send(get(f"s?offset={offset(0)}&live=long-poll"))
        reader.send(get("s?offset=-1&live=sse"))
        await reader.answer()
        await until(lambda: gateway.limits.live_readers == 2)
        await gateway.ask(post("s", b"", "Stream-Closed: true"))
        assert (await poll.answer()).status == 204
        await reader.events_to_the_end()
        await gateway.ask(put("t"))
        drained = await gateway.connect()
        drained.send(get(f"t?offset={offset(0)}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 1)
        await gateway.route.drain()
        await drained.answer()
        assert numbers(gateway, "headgate_live_reader_leaves_total") == {
            "sse closed": 1,
            "long_poll timeout": 1,
            "long_poll closed": 1,
            "long_poll drain": 1,
        }
        assert numbers(gateway, "headgate_resumes_total") == {
            "start": 1,
            "offset": 2,
            "terminal": 1,
        }


KEPT = "Cache-Control: max-age=60, stale-while-revalidate=60"
CHECKED = ("Cache-Control: max-age=60", 'ETag: "1"')


async def test_metrics_of_reads_of_an_origin_are_exact() -> None:
    held = Steps(answer(b"held", KEPT)[:1], answer(b"held", KEPT)[1:])
    scripts = (
        answer(b"stale", KEPT),
        answer(b"fresh", KEPT),
        answer(b"checked", *CHECKED),
        b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n',
        answer(b"passed"),
        answer(b"gone", status="410 Gone"),
        held,
    )
    async with RawOrigin(*scripts) as raw, edge_serving(raw) as gateway:
        seen = []

        async def ask(name: str, *lines: str) -> None:
            seen.append((await gateway.ask(get(f"{EDGE}/{name}", *lines))).get("X-Cache"))

        await ask("a")
        await ask("a")
        await ask("a", ORDINARY)
        gateway.clock.advance(70)
        await ask("a")
        await until(lambda: len(raw.heard) == 2)
        await turns(50)
        await ask("b")
        gateway.clock.advance(70)
        await ask("b")
        passed = await gateway.ask(request("GET", f"{EDGE}/c", body=b"?"))
        seen.append(passed.get("X-Cache"))
        await ask("d?offset=0003")
        clients = [await gateway.connect() for _ in range(4)]
        for client in clients:
            client.send(get(f"{EDGE}/e"))
        await until(lambda: gateway.edge.cache.collapsed == 3)
        held.go()
        seen += [(await client.answer()).get("X-Cache") for client in clients]

        assert numbers(gateway, "headgate_cache_results_total", EDGE) == {
            name.lower(): seen.count(name) for name in sorted(set(map(str, seen)))
        }
        assert set(seen) == {"MISS", "HIT", "STALE", "REVALIDATED", "COLLAPSED", "BYPASS"}
        counts = numbers(gateway, "headgate_requests_total", EDGE)
        assert counts == {"read 2xx": len(seen) - 1, "read 4xx": 1}
        assert numbers(gateway, "headgate_resumes_total", EDGE) == {"gap": 1}
        # The last is counted as its fetch ends, a moment after the answer is whole.
        readers = seen.count("MISS") + seen.count("REVALIDATED") + 3
        await until(lambda: collapsed_readers(gateway) >= readers)
        assert collapsed_readers(gateway) == readers


async def test_metrics_of_live_readers_of_an_origin_are_exact() -> None:
    async with live(b"a") as (origin, gateway):
        readers = [await following(gateway, "0001") for _ in range(2)]
        polls = [await polling(gateway, "0001") for _ in range(3)]
        assert numbers(gateway, "headgate_live_readers", EDGE) == {"sse": 2, "long_poll": 3}
        assert numbers(gateway, "headgate_feeds", EDGE) == {"": 1}
        await origin.polled(1)
        origin.append(b"four")
        for client in polls:
            assert (await client.answer()).body == b"four"
        for client in readers:
            await client.events_until(lambda events: any(one.data == "four" for one in events))
        late = await gateway.ask(get(at("0001")))  # who comes a moment later is told at once
        assert (late.status, late.body) == (200, b"four")

        counts = numbers(gateway, "headgate_requests_total", EDGE)
        assert counts == {"sse 2xx": 2, "long_poll 2xx": 4}
        results = numbers(gateway, "headgate_cache_results_total", EDGE)
        assert results == {"collapsed": 6}
        assert numbers(gateway, "headgate_resumes_total", EDGE) == {"offset": 6}
        assert numbers(gateway, "headgate_deliveries_total", EDGE) == {"sse": 2, "long_poll": 3}
        delay = distribution(gateway, "headgate_delivery_seconds", EDGE)
        assert sum(delay.counts) == 2 + 3
        for client in readers:
            client.abort()
        await until(lambda: gateway.limits.live_readers == 0)
        assert numbers(gateway, "headgate_live_reader_leaves_total", EDGE) == {
            "long_poll answered": 3,
            "sse client": 2,
        }


async def test_a_slow_reader_is_counted_until_it_has_caught_up() -> None:
    big = b"x" * 200_000
    async with serving() as gateway:
        await gateway.ask(put("s"))
        slow, quick = [await gateway.connect(receive_buffer=1 << 12) for _ in range(2)]
        for client in (slow, quick):
            client.send(get("s?offset=-1&live=sse"))
            await client.answer()
            await told(client, 1)
        slow.pause()
        sent = 0
        while not gateway.route.traffic.live.slow:
            await gateway.ask(post("s", big))
            sent += 1
            await told(quick, 1 + 2 * sent)
        assert numbers(gateway, "headgate_slow_readers") == {"": 1}
        unsent = numbers(gateway, "headgate_slow_reader_bytes")[""]
        assert 64 << 10 < unsent < sent * 2 * len(big)
        slow.resume()
        await told(slow, 1 + 2 * sent)
        assert numbers(gateway, "headgate_slow_readers") == {}
        assert numbers(gateway, "headgate_slow_readers_detached_total")[""] >= 1
        assert numbers(gateway, "headgate_deliveries_total") == {"sse": 2 * sent}


async def test_refusals_are_counted_by_the_setting_of_their_limit() -> None:
    async with serving(max_connections=1, max_append=10, max_live_readers=0) as gateway:
        client = await gateway.connect()
        await client.ask(put("s"))
        assert (await client.ask(post("s", b"x" * 11))).status == 413
        polled = await client.ask(get("s?offset=-1&live=long-poll"))
        assert polled.status == 503
        refused = await gateway.connect()
        assert (await refused.answer()).status == 503
        assert refusals(gateway) == {
            "max_append": 1,
            "max_live_readers": 1,
            "max_connections": 1,
        }
        assert sum(numbers(gateway, "headgate_requests_total").values()) == 3
        assert numbers(gateway, "headgate_requests_total", "none") == {}


async def test_a_cursor_counts_as_a_regression_after_five_minutes() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        now = current_cursor(gateway.clock())
        for back, counted in ((0, {}), (LONG_OVER, {}), (LONG_OVER + 1, {"": 1})):
            cursor = f"cursor={now - back}"
            answered = await gateway.ask(get(f"s?offset=-1&live=long-poll&{cursor}"))
            assert answered.status == 200
            assert numbers(gateway, "headgate_cursor_regressions_total") == counted
        assert LONG_OVER * INTERVAL_S == 300
        client = await gateway.connect()
        client.send(get(f"s?offset={offset(3)}&live=long-poll&cursor={now - LONG_OVER - 1}"))
        await until(lambda: gateway.limits.live_readers == 1)
        assert numbers(gateway, "headgate_cursor_regressions_total") == {"": 2}


async def test_headers_missing_from_an_origin_response_are_counted_as_repairs() -> None:
    read = ("Stream-Next-Offset: 0001", "Content-Type: text/plain")
    whole = ("Cache-Control: max-age=9", 'ETag: "1"', "Stream-Cursor: 1")
    pages = "Access-Control-Allow-Origin: *"
    scripts = (answer(b"a", *read), answer(b"a", *read, *whole, pages))
    async with RawOrigin(*scripts) as raw, edge_serving(raw) as gateway:
        await gateway.ask(get(f"{EDGE}/a?offset=-1"))
        lacked = numbers(gateway, "headgate_repairs_total", EDGE)
        assert lacked == {"cache_control": 1, "etag": 1, "cursor": 1, "cors": 1}
        await gateway.ask(get(f"{EDGE}/b?offset=0000"))
        assert numbers(gateway, "headgate_repairs_total", EDGE) == lacked


async def test_a_hundred_streams_add_no_metric_series() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"0"))
        await gateway.ask(get("s"))
        routes = Router([gateway.route])
        before = {(one.metric, one.values) for one in snapshot(gateway.shared, routes)}
        for number in range(100):
            await gateway.ask(put(f"s{number}", body=b"0"))
            await gateway.ask(get(f"s{number}"))
        assert {(one.metric, one.values) for one in snapshot(gateway.shared, routes)} == before
