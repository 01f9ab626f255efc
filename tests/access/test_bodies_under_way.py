"""A write whose credential ends while its body is on its way is not done."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from gateway.telemetry.traffic import ADMITTED
from tests.access.guarded import ROUTES, bearer, guarded, revoke
from tests.support.waiting import until
from tests.web.serving import PREFIX, get, post, put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.http1 import Answer
    from tests.web.serving import Serving

ENDS = ("revoked", "expired")
FRAMINGS = ("length", "chunks")


def halves(wire: bytes, framing: str) -> tuple[bytes, bytes]:
    """A request up to the middle of its body, and the rest of it."""
    if framing == "length":
        return wire[:-2], wire[-2:]
    head, _, body = wire.partition(b"\r\n\r\n")
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    return head + b"\r\n\r\n2\r\n" + body[:2] + b"\r\n", b"2\r\n" + body[2:] + b"\r\n0\r\n\r\n"


async def interrupted(
    gateway: Serving,
    prefix: str,
    parts: tuple[bytes, bytes],
    meanwhile: Callable[[], Awaitable[None]],
) -> Answer:
    """The answer to a request during whose body something happens."""
    route = gateway.route if prefix == PREFIX else gateway.edge
    decisions = route.traffic.decisions
    admitted = decisions[ADMITTED]
    client = await gateway.connect()
    client.send(parts[0])
    await until(lambda: decisions[ADMITTED] > admitted)
    await meanwhile()
    return await client.ask(parts[1])


@pytest.mark.parametrize(("prefix", "end", "framing"), list(product(ROUTES, ENDS, FRAMINGS)))
async def test_who_may_no_more_when_the_body_ends_has_written_nothing(
    prefix: str, end: str, framing: str, tmp_path: Path
) -> None:
    async with guarded(tmp_path) as gateway:

        async def take_away() -> None:
            if end == "revoked":
                await revoke(gateway, tmp_path, "late")
            else:
                gateway.clock.advance(60.0)

        wires = {
            "a/s": post(f"{prefix}/a/s", b"more", bearer("late")),
            "a/new": put(f"{prefix}/a/new", bearer("late"), body=b"more"),
        }
        for name, wire in wires.items():
            before = gateway.clock.now
            answer = await interrupted(gateway, prefix, halves(wire, framing), take_away)
            answer.assert_problem(401)
            gateway.clock.now = before
            await revoke(gateway, tmp_path, "nobody")  # it counts again
            kept = await gateway.ask(get(f"{prefix}/{name}?offset=-1", bearer("all")))
            assert (kept.status, b"more" in kept.body) == (200 if name == "a/s" else 404, False)


@pytest.mark.parametrize("prefix", ROUTES)
async def test_what_is_hidden_is_hidden_also_at_the_end_of_a_body(
    prefix: str, tmp_path: Path
) -> None:
    async with guarded(tmp_path, {"conceal": "on"}) as gateway:
        parts = halves(post(f"{prefix}/a/s", b"more", bearer("late")), "length")
        answer = await interrupted(
            gateway, prefix, parts, lambda: revoke(gateway, tmp_path, "late")
        )
        answer.assert_problem(404)


@pytest.mark.parametrize("prefix", ROUTES)
async def test_who_still_may_goes_on_though_the_file_has_changed(
    prefix: str, tmp_path: Path
) -> None:
    async with guarded(tmp_path) as gateway:
        parts = halves(post(f"{prefix}/a/s", b"more", bearer("all")), "length")
        answer = await interrupted(gateway, prefix, parts, lambda: revoke(gateway, tmp_path, "ann"))
        assert answer.status == 204
        kept = await gateway.ask(get(f"{prefix}/a/s?offset=-1", bearer("all")))
        assert kept.body == b"datamore"
