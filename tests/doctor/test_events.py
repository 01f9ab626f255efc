"""What the doctor makes of silence between events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_doctor.checks import events
from headgate_doctor.deployment import Deployment, read_twice
from headgate_doctor.finding import CheckVerdict
from headgate_doctor.probe_sender import ProbeSender, RequestBudget
from headgate_doctor.streams import OwnStreams, first_target
from headgate_doctor.target import connect
from tests.support.raw_origin import RawOrigin, Wire, answer, silence

if TYPE_CHECKING:
    import pytest

    from headgate_doctor.finding import Finding
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


def two_events_then(play: Play, of_server: bytes) -> Play:
    """A server of events: one that is there, one for an append, and what comes then."""
    appends = asyncio.Semaphore(0)

    async def serve(wire: Wire) -> None:
        if "live=sse" not in wire.heard.target:
            await wire.body()
            await wire.send(answer(b"", OFFSET, status="201 Created"))
            if wire.heard.method == "POST":
                appends.release()
            return
        await wire.send(HEAD.replace(b"\r\n\r\n", b"\r\n" + of_server + b"\r\n"))
        for _ in range(2):
            await appends.acquire()
            await wire.send(chunk(b"event: data\ndata: x\n\n"))
        await play(wire)

    return serve


async def events_of(play: Play) -> list[Finding]:
    """Examine the events of a server."""
    async with RawOrigin(play) as server:
        target = first_target(f"{server.url}/v1/stream", {})
        async with connect(target) as stream:
            asker = ProbeSender(RequestBudget())
            streams = OwnStreams(asker, stream)
            reads = await read_twice(await streams.create())
            return await events.server_sent_events(Deployment(asker, streams, reads))


async def keep_alive(play: Play, of_server: bytes) -> Finding:
    found = await events_of(two_events_then(play, of_server))
    assert found[0].verdict is CheckVerdict.PASS, found
    return found[1]


async def test_the_doctor_judges_silence_between_events_by_who_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 3.0)
    headgate = b"Cache-Status: Headgate; fwd=bypass\r\n"
    rows = (
        (comment, b"", "pass: a quiet answer had a comment after "),
        (silence, b"", "could not tell: a quiet answer was silent for 3 s"),
        (silence, headgate, "fail: a quiet answer was silent for 3 s"),
        (end, headgate, "note: a quiet answer ended 2."),
        (cut, headgate, "fail: a quiet answer was cut after 2."),
    )
    found = await asyncio.gather(*(keep_alive(play, by) for play, by, _ in rows))
    for one, (*_, said) in zip(found, rows, strict=True):
        assert f"{one.verdict}: {one.saw}".startswith(said), (one, said)


async def test_the_doctor_says_that_events_wait_for_a_compressor() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")

    async def compressed(wire: Wire) -> None:
        if "live=sse" in wire.heard.target:
            await wire.send(head)
            await silence(wire)
        await wire.body()
        await wire.send(answer(b"", OFFSET, status="201 Created"))

    found = await events_of(compressed)
    assert found[0].advice == "SSE compressed"
    assert "a hop compresses events, with gzip" in found[0].saw


async def test_the_doctor_notes_events_that_a_hop_gathers() -> None:
    appends = asyncio.Semaphore(0)

    async def serve(wire: Wire) -> None:
        if "live=sse" not in wire.heard.target:
            await wire.body()
            await wire.send(answer(b"", OFFSET, status="201 Created"))
            if wire.heard.method == "POST":
                appends.release()
            return
        await wire.send(HEAD)
        for _ in range(3):
            await appends.acquire()
            await asyncio.sleep(1)
            await wire.send(chunk(b"event: data\ndata: x\n\n"))
        await comment(wire)

    found = await events_of(serve)
    assert found[0].verdict is CheckVerdict.NOTE
    assert "a hop gathers them" in found[0].saw
