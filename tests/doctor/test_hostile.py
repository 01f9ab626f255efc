"""Servers that are no Durable Streams servers, or mean harm: one line, in a bounded time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_doctor import probe_sender, streams
from headgate_doctor.examination import Unusable
from tests.doctor.deployments import examined
from tests.support.raw_origin import RawOrigin, Wire, answer, close, silence

if TYPE_CHECKING:
    from tests.support.raw_origin import Play

HEAD = b"HTTP/1.1 201 Created\r\nStream-Next-Offset: 0\r\n"


async def endless_body(wire: Wire) -> None:
    await wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not wire.is_closing():
        await wire.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


async def endless_head(wire: Wire) -> None:
    await wire.send(HEAD)
    while not wire.is_closing():
        await wire.send(b"X-More: more\r\n" * 1000)


async def long_line(wire: Wire) -> None:
    await wire.send(HEAD + b"X-Long: ")
    while not wire.is_closing():
        await wire.send(b"x" * 0x10000)


async def drip(wire: Wire) -> None:
    """A head that never ends, and never pauses for long."""
    await wire.send(HEAD + b"X-Slow: ")
    while not wire.is_closing():
        await wire.send(b"x")
        await asyncio.sleep(0.2)


def refused(body: bytes) -> bytes:
    return answer(body, "Content-Type: application/problem+json", status="400 Bad Request")


MARKUP = b'{"detail": "<b>\\u001b[2J\\u202e\\n\\n' + b"x" * 400_000 + b'"}'
LOOP = answer(b"", "Location: http://user:secret@h/v1/\x1b[2Jstream?token=secret#x", status="308 P")
SERVERS: dict[str, tuple[bytes | Play, str]] = {
    "a page": (answer(b"<html>", "Content-Type: text/html"), "not a Durable Streams endpoint"),
    "nothing there": (answer(b"", status="404 Not Found"), "not a Durable Streams endpoint"),
    "no PUT": (answer(b"", status="405 Method Not Allowed"), "not a Durable Streams endpoint"),
    "no such method": (answer(b"", status="501 Unsupported method"), "501 Unsupported method"),
    "no name": (answer(b"{}", status="201 Created"), "201, where 201 with a Stream-Next-Offset"),
    "busy": (answer(b"", status="503 Service Unavailable"), "503 Service Unavailable"),
    "a redirect": (LOOP, "it redirects to http://h/v1/[2Jstream: give the URL"),
    "nowhere": (answer(b"", status="302 Found"), "it redirects to nowhere"),
    "markup": (refused(MARKUP), "not a Durable Streams endpoint"),
    "no HTTP": (b"SSH-2.0-x\r\n\r\n", "no HTTP is spoken there"),
    "an end": (close, "the connection was closed without a response"),
    "endless body": (endless_body, "the answer is longer than 256 KiB"),
    "endless head": (endless_head, "what it answered is not valid HTTP"),
    "long line": (long_line, "what it answered is not valid HTTP"),
    "silence": (silence, "no answer within 2 s"),
    "drip": (drip, "no answer within 2 s"),
}

# Of these, no stream can have come.
REFUSED = {"nothing there", "no PUT", "no such method", "a redirect", "markup"}


async def refusal_of(script: bytes | Play) -> tuple[str, list[str]]:
    """Why it cannot be examined, and the methods that it was asked."""
    async with RawOrigin(script) as server:
        with pytest.raises(Unusable) as refusal:
            await examined(f"{server.url}/v1/stream")
        return str(refusal.value), [one.method for one in server.heard]


async def test_the_doctor_refuses_other_servers_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe_sender, "ANSWER_S", 2.0)
    monkeypatch.setattr(streams, "REMOVAL_S", 0.5)
    outcomes = await asyncio.gather(*(refusal_of(script) for script, _ in SERVERS.values()))
    for (name, (_, words)), (said, methods) in zip(SERVERS.items(), outcomes, strict=True):
        assert words in said, name
        assert said.isprintable(), name
        assert len(said) < 500, name
        assert "secret" not in said, name
        # One request, and the removal of what may have come of it.
        assert methods[0] == "PUT", name
        assert set(methods[1:]) <= {"DELETE"}, name
        assert len(methods) <= 3, name
        assert name not in REFUSED or methods == ["PUT"], name


CREATED = answer(b"", "Stream-Next-Offset: 0", status="201 Created")


def only_put(play: bytes | Play) -> Play:
    """Makes streams, removes them, and does something else with all other requests."""

    async def serve(wire: Wire) -> None:
        await wire.body()
        if wire.heard.method in {"PUT", "DELETE"}:
            await wire.send(CREATED)
        elif isinstance(play, bytes):
            await wire.send(play)
        else:
            await play(wire)

    return serve


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nStream-Next-Offset: 0\r\n"


async def event_flood(wire: Wire) -> None:
    if "live=sse" in wire.heard.target:
        await wire.send(EVENTS + b"Transfer-Encoding: chunked\r\n\r\n")
        while not wire.is_closing():
            await wire.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    elif wire.heard.method == "POST" or "live=" in wire.heard.target:
        await wire.send(answer(b"", "Stream-Next-Offset: 1", status="200 OK"))
    else:
        await wire.send(answer(b"headgate doctor\n", "Stream-Next-Offset: 1"))


@pytest.mark.parametrize(
    "play", [endless_body, event_flood, pytest.param(answer(b""), id="empty-responses"), close]
)
async def test_the_doctor_stays_within_its_budget_at_a_server_that_only_creates_streams(
    play: bytes | Play,
) -> None:
    async with RawOrigin(only_put(play)) as server:
        try:
            examination = await examined(f"{server.url}/v1/stream")
        except Unusable:
            pass
        else:
            assert examination.requests <= 240
        methods = [one.method for one in server.heard]
        assert len(methods) <= 240
        made = {one.target.partition("?")[0] for one in server.heard if one.method == "PUT"}
        assert made == {
            one.target.partition("?")[0] for one in server.heard if one.method == "DELETE"
        }
