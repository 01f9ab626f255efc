"""A write whose credential ends while its body is on its way is not done."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.telemetry.traffic import ADMITTED
from tests.support.guarded_gateway import ROUTES, bearer, end_token, guarded, revoke, tokens_file
from tests.support.multi_append import framed
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from headgate_gateway.web.requests.request import Request
    from tests.support.http1 import Answer
    from tests.support.raw_origin import Wire
    from tests.support.serving import Serving

ENDS = ("revoked", "expired")
FRAMINGS = ("length", "chunks")


def halves(wire: bytes, framing: str) -> tuple[bytes, bytes]:
    """A request up to the middle of its body, and the rest of it."""
    if framing == "length":
        return wire[:-2], wire[-2:]
    head, _, body = wire.partition(b"\r\n\r\n")
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    first, last = (b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:2], body[2:]))
    return head + b"\r\n\r\n" + first, last + b"0\r\n\r\n"


async def interrupted(
    gateway: Serving, prefix: str, parts: tuple[bytes, bytes], meanwhile: Awaitable[None]
) -> Answer:
    """The answer to a request during whose body something happens."""
    route = gateway.route if prefix == PREFIX else gateway.edge
    decisions = route.traffic.decisions
    admitted = decisions[ADMITTED]
    client = await gateway.connect()
    client.send(parts[0])
    await until(lambda: decisions[ADMITTED] > admitted)
    await meanwhile
    return await client.ask(parts[1])


def request_of(gateway: Serving) -> Request:
    """Return the request on the gateway's only connection."""
    (connection,) = gateway.server.connections
    request: Request | None = connection.requests.request
    assert request is not None, "under way"
    return request


@pytest.mark.parametrize(("prefix", "end", "framing"), list(product(ROUTES, ENDS, FRAMINGS)))
async def test_a_write_whose_token_ends_during_its_body_gets_401_and_stores_nothing(
    prefix: str, end: str, framing: str, tmp_path: Path
) -> None:
    async with guarded(tmp_path) as gateway:
        wires = {
            "a/s": post(f"{prefix}/a/s", b"more", bearer("late")),
            "a/new": put(f"{prefix}/a/new", bearer("late"), body=b"more"),
        }
        for name, wire in wires.items():
            before = gateway.clock.now
            parts = halves(wire, framing)
            ending = end_token(gateway, tmp_path, end)
            answered = await interrupted(gateway, prefix, parts, ending)
            answered.assert_problem(401)
            gateway.clock.now = before
            await revoke(gateway, tmp_path, "nobody")  # it counts again
            kept = await gateway.ask(get(f"{prefix}/{name}?offset=-1", bearer("all")))
            assert (kept.status, b"more" in kept.body) == (200 if name == "a/s" else 404, False)


@pytest.mark.parametrize(("end", "framing"), list(product(ENDS, FRAMINGS)))
async def test_a_multi_append_whose_token_ends_during_its_body_never_reaches_the_origin(
    end: str, framing: str, tmp_path: Path
) -> None:
    """The origin is asked first whether it knows multi-appends, and the body is whole by then."""
    offered = Steps(b"", answer(b"", "X-Stream-Multi: true"))
    taken: list[bytes] = []

    async def take(wire: Wire) -> None:
        taken.append(await wire.body())
        await wire.send(answer(status="204 No Content"))

    path = tokens_file(tmp_path)
    async with (
        RawOrigin(offered, take) as origin,
        edge_serving(origin, {"auth": "tokens"}, tokens_file=str(path)) as gateway,
    ):
        wire = post(f"{EDGE}/a/s", framed([b"more"]), bearer("late"), "X-Stream-Multi: true")
        first, rest = halves(wire, framing)
        client = await gateway.connect()
        client.send(first)
        await until(lambda: offered.sent == 1)
        await end_token(gateway, tmp_path, end)
        client.send(rest)
        await until(lambda: not request_of(gateway).has_more_body)
        offered.go()
        (await client.answer()).assert_problem(401)
    assert not taken


@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_concealed_write_revoked_in_its_body_gets_404(prefix: str, tmp_path: Path) -> None:
    async with guarded(tmp_path, {"conceal": "on"}) as gateway:
        parts = halves(post(f"{prefix}/a/s", b"more", bearer("late")), "length")
        ending = end_token(gateway, tmp_path, "revoked")
        answered = await interrupted(gateway, prefix, parts, ending)
        answered.assert_problem(404)


@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_write_survives_a_change_of_another_token_in_the_file(
    prefix: str, tmp_path: Path
) -> None:
    async with guarded(tmp_path) as gateway:
        parts = halves(post(f"{prefix}/a/s", b"more", bearer("all")), "length")
        answered = await interrupted(gateway, prefix, parts, revoke(gateway, tmp_path, "ann"))
        assert answered.status == 204
        kept = await gateway.ask(get(f"{prefix}/a/s?offset=-1", bearer("all")))
        assert kept.body == b"datamore"
