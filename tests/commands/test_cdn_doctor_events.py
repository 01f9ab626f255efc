"""What the doctor makes of silence between events, with and without what the gateway says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.tools.cdn_doctor.checks import events
from gateway.tools.cdn_doctor.deployment import Deployment, read_twice
from gateway.tools.cdn_doctor.finding import CheckVerdict
from gateway.tools.cdn_doctor.gateway_counters import GatewayCounters
from gateway.tools.cdn_doctor.probe_sender import ProbeSender, RequestBudget
from gateway.tools.cdn_doctor.streams import OwnStreams, first_target
from gateway.tools.server.client import connect
from tests.support.raw_origin import RawOrigin, Wire, answer, silence

if TYPE_CHECKING:
    import pytest

    from gateway.tools.cdn_doctor.finding import Finding
    from tests.support.raw_origin import Play

OFFSET = "Stream-Next-Offset: 0"
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Stream-Next-Offset: 0\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


AFTER_S = 2.4  # of which a busy client sees less


async def comment(wire: Wire) -> None:
    await asyncio.sleep(AFTER_S)
    await wire.send(chunk(b":\n"))


async def end(wire: Wire) -> None:
    await asyncio.sleep(AFTER_S)
    await wire.send(b"0\r\n\r\n")


async def cut(wire: Wire) -> None:
    await asyncio.sleep(AFTER_S)
    await wire.close()


def two_events_then(play: Play) -> Play:
    """A server of events: one that is there, one for an append, and what comes then."""
    appends = asyncio.Semaphore(0)

    async def serve(wire: Wire) -> None:
        if "live=sse" not in wire.heard.target:
            await wire.body()
            await wire.send(answer(b"", OFFSET, status="201 Created"))
            if wire.heard.method == "POST":
                appends.release()
            return
        if "last-event-id" in wire.heard.named:
            await wire.send(answer(b""))
            return
        await wire.send(HEAD)
        for _ in range(2):
            await appends.acquire()
            await wire.send(chunk(b"event: data\ndata: x\n\n"))
        await play(wire)

    return serve


async def keep_alive(play: Play, heartbeat_s: float | None, max_age_s: float) -> Finding:
    """What is found; without a heartbeat nothing is known of the gateway."""
    async with RawOrigin(two_events_then(play)) as server:
        target = first_target(f"{server.url}/v1/stream", {})
        async with connect(target, as_sent=True) as stream:
            asker = ProbeSender(RequestBudget())
            gateway = None
            if heartbeat_s is not None:
                gateway = GatewayCounters(asker, stream)
                gateway.heartbeat_s, gateway.sse_max_age_s = heartbeat_s, max_age_s
            streams = OwnStreams(asker, stream)
            reads = await read_twice(await streams.create())
            found = await events.server_sent_events(Deployment(asker, streams, reads, gateway))
    assert found[0].verdict is CheckVerdict.PASS, found
    return found[2]


async def test_the_doctor_judges_sse_silence_by_the_heartbeat_of_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 3.0)
    monkeypatch.setattr(events, "LONGEST_SILENCE_S", 4.0)
    rows = (
        # What is seen; heartbeat and longest age of the gateway; what is said.
        (comment, None, 0.0, "pass: a quiet answer had a comment after "),
        (comment, 2.0, 60.0, "pass: a quiet answer had a comment after "),
        (silence, None, 0.0, "could not tell: a quiet answer was silent for 3.0 s; --admin tells"),
        (silence, 0.5, 60.0, "fail: a quiet answer was silent for 3.5 s; the gateway sends a"),
        (silence, 40.0, 60.0, "could not tell: a quiet answer was silent for 4.0 s; the gateway"),
        (end, None, 0.0, "could not tell: a quiet answer ended after 2."),
        (end, 15.0, 2.0, "pass: a quiet answer ended after 2."),
        (end, 15.0, 10.0, "fail: a quiet answer ended after 2."),
        (end, 1.0, 2.0, "fail: a quiet answer was silent for 2."),
        (cut, None, 0.0, "fail: a quiet answer was cut after 2."),
        (cut, 15.0, 60.0, "fail: a quiet answer was cut after 2."),
    )
    found = await asyncio.gather(
        *(keep_alive(play, heartbeat_s, age_s) for play, heartbeat_s, age_s, _ in rows)
    )
    for one, (*_, said) in zip(found, rows, strict=True):
        assert f"{one.verdict}: {one.saw}".startswith(said), (one, said)
