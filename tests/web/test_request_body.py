"""The time that a body may take: a gap is bounded, and so is a body that trickles in."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from headgate_gateway.errors import RequestTimeout
from headgate_gateway.routes.services import Timeouts
from headgate_gateway.runtime.limits import Bounds, ServerLimits
from headgate_gateway.web.requests import request_body
from headgate_gateway.web.requests.request import Request
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.web.requests.request import ClientConnection

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
            timeouts, limits = Timeouts(timeout_s, body_rate=rate), some_limits()
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


@pytest.mark.parametrize(
    ("pieces", "ends_at", "within"),
    [
        pytest.param([(0.5, 1)] * 100, TIMEOUT_S + 4 / RATE, 0.02, id="below-the-minimum-rate"),
        pytest.param([(0.0, 1000), *[(0.5, 1)] * 100], 12.2, 0.1, id="slow-after-much-at-once"),
        pytest.param([(0.0, 100_000), (TIMEOUT_S + 0.1, 1)], TIMEOUT_S, 1e-6, id="a-long-pause"),
    ],
)
def test_a_body_times_out(pieces: list[tuple[float, int]], ends_at: float, within: float) -> None:
    assert given_up_at(pieces) == pytest.approx(ends_at, abs=within)


def test_a_body_in_time_may_take_any_time() -> None:
    """It comes at the minimum rate, has none but short pauses, or waits for the server."""
    assert take([(1.0, RATE)] * 600) == (600 * RATE, 600.0)
    assert take([(TIMEOUT_S - 0.1, 1)] * 100, rate=0)[0] == 100
    assert take([(0.1, 10)] * 20, pause_s=1.0)[0] == 200


def test_a_body_has_ten_seconds_before_the_minimum_rate_applies() -> None:
    """However long a gap may be: a thousand that trickle in are gone in time."""
    assert given_up_at([(1.0, 1)] * 100, timeout_s=30.0) == pytest.approx(10.1, abs=0.02)
    assert given_up_at([(60.0, 1)], timeout_s=30.0) == pytest.approx(10.0, abs=0.02)
    most = [(0.0, 10_000), (29.9, 1)]
    assert take(most, timeout_s=30.0)[0] == 10_001
