"""Nobody waits by turns for an origin that hangs where something may be given instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.reads.http_cache import REFRESH_PAUSE_S
from tests.edge.live_readers import S, following, up_to
from tests.support.live_origin import LiveOrigin
from tests.support.serving import Serving, edge_serving, get
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.raw_origin import Wire

IMPATIENT = {"response_timeout": 0.5}
WAYS = pytest.mark.parametrize("way", ["X-Fast: 1", "X-Request-Id:a"])  # without a task, and with
FIRST, SECOND = f"{S}?offset=0000", f"{S}?offset=0001"


class Hanging:
    """Takes requests, and answers none; the targets of those that wait, and of all."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.asked: list[str] = []

    async def __call__(self, wire: Wire) -> None:
        target = wire.heard.target
        self.waiting.append(target)
        self.asked.append(target)
        try:
            await wire.rest()  # until the gateway has given it up
        finally:
            self.waiting.remove(target)


def part(got: Answer) -> str:
    assert (got.status, got.get("X-Cache")) == (200, "STALE")
    return (got.get("Cache-Status") or "").split("; ")[1].partition("=")[0]


async def asked_in_vain(gateway: Serving, hanging: Hanging, target: str, way: str) -> None:
    """A reader has waited for the origin; those after him do not, while it is asked again."""
    got = await gateway.ask(get(target, way))
    assert part(got) == "fwd"
    await until(lambda: target not in hanging.waiting)
    for _ in range(3):
        gateway.clock.advance(REFRESH_PAUSE_S)
        asked = hanging.asked.count(target)
        assert part(await gateway.ask(get(target, way))) == "hit"
        await until(lambda was=asked: hanging.asked.count(target) > was)  # type: ignore[misc] # a default
        gateway.clock.advance(REFRESH_PAUSE_S)
        for _ in range(3):  # and who comes meanwhile
            assert target in hanging.waiting
            assert part(await gateway.ask(get(target, way))) == "hit"
        if gateway.edge.origin.servers.why_unhealthy() is not None:
            return
        await until(lambda: target not in hanging.waiting)


@WAYS
async def test_one_reader_waits_for_a_hanging_origin_and_the_others_get_the_stale_response(
    way: str,
) -> None:
    async with LiveOrigin(b"a", b"b", b"c") as origin, edge_serving(origin, IMPATIENT) as gateway:
        origin.says, origin.longest = ["Cache-Control: max-age=10"], 1
        for target in (FIRST, SECOND):
            assert (await gateway.ask(get(target, way))).get("X-Cache") == "MISS"
        gateway.clock.advance(20)
        origin.instead = hanging = Hanging()
        await asked_in_vain(gateway, hanging, FIRST, way)
        await until(lambda: gateway.edge.origin.servers.why_unhealthy() is not None)
        # By now it is known to be silent, so that this needs no reader who waits.
        assert part(await gateway.ask(get(SECOND, way))) == "hit"


@WAYS
async def test_one_reader_waits_for_a_hanging_origin_and_the_others_get_recent_data(
    way: str,
) -> None:
    async with LiveOrigin(b"a") as origin, edge_serving(origin, IMPATIENT) as gateway:
        viewer = await following(gateway, "0001")
        await origin.polled(1)
        origin.append(b"b")
        assert await up_to(viewer, "0002") == "b"
        await origin.polled(2)
        origin.instead = hanging = Hanging()
        await asked_in_vain(gateway, hanging, SECOND, way)
