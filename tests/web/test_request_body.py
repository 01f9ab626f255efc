"""The time that a body may take: a gap is bounded, and so is a body that trickles in."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from gateway.errors import RequestTimeout
from gateway.routes.services import Timeouts
from gateway.runtime.limits import Bounds, ServerLimits
from gateway.web.requests import request_body
from gateway.web.requests.request import Request
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.web.requests.request import ClientConnection

TIMEOUT_S = 2.0
RATE = 100  # bytes a second


def some_limits() -> ServerLimits:
    bounds = Bounds(
        max_connections=1,
        max_client_connections=1,
        max_live_readers=1,
        max_feeds=1,
        max_append=1,
        max_pending_appends=1,
    )
    return ServerLimits(bounds)


def take(
    pieces: Sequence[tuple[float, int]],
    *,
    rate: int = RATE,
    pause_s: float = 0.0,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, float]:
    """The bytes of a body whose pieces come after so many seconds each, and when it was whole."""

    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        protocol = BaseProtocol(loop)
        protocol.connection_made(asyncio.Transport())
        content = StreamReader(protocol, 1 << 16, loop=loop)
        message = make_mocked_request("POST", "/")._message
        request = Request(
            message, content, cast("ClientConnection", SimpleNamespace(wire=protocol))
        )

        async def send() -> None:
            for wait_s, size in pieces:
                await asyncio.sleep(wait_s)
                content.feed_data(bytes(size))
            content.feed_eof()

        sending = loop.create_task(send())
        size = 0
        try:
            timeouts, limits = Timeouts(10, timeout_s, rate), some_limits()
            async for part in request_body.parts(request, timeouts, limits):
                size += len(part)
                await asyncio.sleep(pause_s)
        except RequestTimeout as error:
            error.add_note(f"{loop.time():.2f}")
            raise
        finally:
            sending.cancel()
        return size, loop.time()

    return virtual_time.run(main())


def given_up_at(pieces: Sequence[tuple[float, int]], timeout_s: float = TIMEOUT_S) -> float:
    with pytest.raises(RequestTimeout, match="did not come in time") as caught:
        take(pieces, timeout_s=timeout_s)
    return float(caught.value.__notes__[0])


def test_a_body_below_the_minimum_rate_times_out() -> None:
    assert given_up_at([(0.5, 1)] * 100) == pytest.approx(TIMEOUT_S + 4 / RATE, abs=0.02)


def test_bytes_received_early_extend_the_time_of_a_slow_body() -> None:
    assert given_up_at([(0.0, 1000), *[(0.5, 1)] * 100]) == pytest.approx(12.2, abs=0.1)


def test_a_pause_within_a_body_is_bounded_although_much_was_received_before() -> None:
    assert given_up_at([(0.0, 100_000), (TIMEOUT_S + 0.1, 1)]) == pytest.approx(TIMEOUT_S)


def test_a_body_at_the_minimum_rate_may_take_any_time() -> None:
    assert take([(1.0, RATE)] * 600) == (600 * RATE, 600.0)


def test_a_body_without_a_minimum_rate_is_bounded_only_in_its_pauses() -> None:
    assert take([(TIMEOUT_S - 0.1, 1)] * 100, rate=0)[0] == 100


def test_time_that_the_server_takes_does_not_count_towards_the_body_timeout() -> None:
    assert take([(0.1, 10)] * 20, pause_s=1.0)[0] == 200


def test_a_body_has_ten_seconds_before_the_minimum_rate_applies() -> None:
    """However long a gap may be: a thousand that trickle in are gone in time."""
    assert given_up_at([(1.0, 1)] * 100, timeout_s=30.0) == pytest.approx(10.1, abs=0.02)
    assert given_up_at([(60.0, 1)], timeout_s=30.0) == pytest.approx(10.0, abs=0.02)
    most = [(0.0, 10_000), (29.9, 1)]
    assert take(most, timeout_s=30.0)[0] == 10_001
