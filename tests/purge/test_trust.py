"""Whether purges succeed is known by those of the last minute, also where nothing is deleted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.cache_headers import PurgeTrust, stream_tag
from headgate_gateway.purge.purger import CHECKED_EVERY_S, NEEDED_S, TRUSTED_S
from headgate_gateway.purge.purges import UNKNOWN_S, Purges
from headgate_gateway.settings import PurgedCache
from headgate_gateway.telemetry.health import by_name
from tests.purge.double import Double, file_of, refusal
from tests.support.gated_log import turns
from tests.support.manual_clock import ManualClock
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PREFIX = "/v1/stream"
UNKNOWN = PurgeTrust((), UNKNOWN_S)
# A purge of nothing: no stream has this name.
CHECK = f"{PREFIX}/.headgate/purge-check"


@asynccontextmanager
async def purging(clock: ManualClock, *caches: tuple[str, str]) -> AsyncIterator[Purges]:
    """Purges of these caches, each a kind and a URL."""
    given = [
        PurgedCache.of(
            {"kind": kind, "url": url}
            if kind in {"varnish", "nginx"}
            else {"kind": kind, "url": url, "zone": "7", "token_file": file_of("t0ken")}
        )
        for kind, url in caches
    ]
    purges = Purges(given, clock, wall_clock=lambda: 0.0, prefix=PREFIX)
    purges.open()
    try:
        yield purges
    finally:
        await purges.close()


async def test_without_caches_no_field_is_trusted_and_nothing_changes() -> None:
    async with purging(ManualClock()) as purges:
        assert purges.trust() == PurgeTrust()


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("varnish", "Surrogate-Control"),
        ("nginx", "Surrogate-Control"),
        ("fastly", "Surrogate-Control"),
        ("cloudflare", "CDN-Cache-Control"),
    ],
)
async def test_the_field_of_a_cache_is_trusted_for_a_minute_once_a_check_has_succeeded(
    kind: str, field: str
) -> None:
    clock = ManualClock()
    async with Double() as double, purging(clock, (kind, double.url)) as purges:
        assert purges.trust() == UNKNOWN
        await until(lambda: purges.trust().fields == (field,))
        assert purges.trust() == PurgeTrust((field,), TRUSTED_S)
        (call,) = double.calls
        assert CHECK in call.line or stream_tag(CHECK) in f"{call.named}{call.body!r}"
        clock.advance(NEEDED_S + TRUSTED_S)
        assert purges.trust() == UNKNOWN


async def test_a_cache_that_goes_by_cache_control_alone_is_not_checked() -> None:
    async with Double() as double, purging(ManualClock(), ("bunny", double.url)) as purges:
        assert purges.trust() == PurgeTrust()
        await turns(100)
        assert not double.calls


async def test_one_failing_cache_ends_the_trust_in_the_field_that_both_go_by() -> None:
    clock = ManualClock()
    async with (
        Double() as good,
        Double() as bad,
        purging(clock, ("varnish", good.url), ("fastly", bad.url)) as purges,
    ):
        purges.trust()
        await until(lambda: bool(purges.trust().fields))
        bad.last = refusal("403 No")
        purges.purge(PREFIX, f"{PREFIX}/s")
        await until(lambda: not purges.trust().fields)
        assert any(by_name(purges.notes()).values())


async def test_purges_are_checked_before_the_minute_is_over_and_not_when_nobody_needs_it() -> None:
    clock = ManualClock()
    async with Double() as double, purging(clock, ("varnish", double.url)) as purges:
        purges.trust()
        await until(lambda: bool(purges.trust().fields))
        clock.advance(CHECKED_EVERY_S)
        purges.purge(PREFIX, f"{PREFIX}/s")  # wakes the task, whose timer goes by the real clock
        await until(lambda: len(double.calls) == 2)
        assert purges.trust().for_s == TRUSTED_S
        clock.advance(NEEDED_S)
        await asyncio.sleep(0)
        assert len(double.calls) == 2
