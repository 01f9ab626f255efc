"""Numbers of readers, cursors and refusals; those of single requests are recorded in the corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.protocol.streams.offsets import INTERVAL_S, LONG_OVER, current_cursor
from headgate_gateway.web.metrics import snapshot
from tests.support.serving import PREFIX, Serving, get, offset, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.telemetry.metrics import Distribution
    from tests.support.http1 import Client

ORDINARY = "X-Request-Id:mine"  # what is not answered on the fast path


def numbers(gateway: Serving, name: str, route: str = PREFIX) -> dict[str, float]:
    """A metric's samples of a route that are not zero, by the values of their other labels."""
    return {
        " ".join(sample.values[1:]): sample.number
        for sample in snapshot(gateway.services, gateway.routes)
        if sample.metric.name == name and sample.values[0] == route and sample.number
    }


def distribution(gateway: Serving, name: str, *values: str) -> Distribution:
    (found,) = (
        sample.distribution
        for sample in snapshot(gateway.services, gateway.routes)
        if sample.metric.name == name and sample.values == values
    )
    assert found is not None
    return found


def refusals(gateway: Serving) -> dict[str, float]:
    """By limit, those that are not zero."""
    return {
        sample.values[0]: sample.number
        for sample in snapshot(gateway.services, gateway.routes)
        if sample.metric.name == "headgate_refusals_total" and sample.number
    }


async def told(client: Client, events: int) -> None:
    """Wait until a reader has so many events."""
    await client.events_until(lambda received: len(received) == events)


async def test_live_readers_are_counted_while_they_wait_and_so_are_their_delays() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
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
        await until(lambda: gateway.limits.live_readers == 5)
        assert numbers(gateway, "headgate_live_readers") == {"sse": 2, "long_poll": 3}
        assert numbers(gateway, "headgate_feeds") == {"": 1}
        await gateway.ask(post("s", b"four"))
        for client in polls:
            assert (await client.answer()).body == b"four"
        for client in readers:
            await told(client, 4)
            client.abort()
        await until(lambda: gateway.limits.live_readers == 0)
        assert numbers(gateway, "headgate_live_readers") == {}
        delay = distribution(gateway, "headgate_delivery_seconds", PREFIX)
        assert sum(delay.counts) == 3 + 2


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
        assert refusals(gateway) == dict.fromkeys(
            ("max_append", "max_live_readers", "max_connections"), 1
        )
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
