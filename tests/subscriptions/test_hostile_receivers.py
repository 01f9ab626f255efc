"""Receivers that send what none should: each call ends, and nothing of it is held.

More of what a server may send is in tests/outbound/test_client.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from headgate_gateway.features.subscriptions.delivery import receivers
from headgate_gateway.outbound.client import LONGEST_ON_THE_WIRE
from tests.subscriptions.receivers import Receiver, Subscribed, receiver, subscribed
from tests.support.listener import Listener
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\n"
DONE = b'{"done":true}'
# A receiver gets no further than this: what is read of a response, and buffers of two sockets.
MOST_TAKEN = LONGEST_ON_THE_WIRE + (8 << 20)
CALL_S = 0.5  # in place of ten seconds


class RawReceiver:
    """A receiver of bytes on loopback that plays one answer to each connection."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self.url = ""
        self.calls = 0
        self.open = 0
        self.sent = 0  # bytes that the gateway has let it send

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request, and play the answer until the connection ends."""
        self.calls += 1
        self.open += 1
        write = writer.write

        def counted(data: bytes) -> None:
            self.sent += len(data)
            write(data)

        writer.write = counted  # type: ignore[method-assign, assignment] # this one counts
        try:
            with contextlib.suppress(ConnectionError):
                await self._play(reader, writer)
                await reader.read()  # the end of the connection
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def raw_receiver(play: Play) -> AsyncIterator[RawReceiver]:
    made = RawReceiver(play)
    async with Listener(made.serve) as server:
        made.url = f"http://127.0.0.1:{server.port}/hook"
        yield made


def says(data: bytes) -> Play:
    """Answer a request with these bytes, and close the connection."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        writer.close()

    return play


def repeats(head: bytes, part: bytes, pause_s: float = 0.0) -> Play:
    """Answer a request with a beginning and a part that comes again and again, without an end."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while not reader.at_eof():
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return play


async def closes_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection before the request is read."""
    writer.close()


async def speaks_first(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send what another protocol begins with, and wait."""
    writer.write(b"SSH-2.0-OpenSSH_9.7\r\n")
    await writer.drain()


async def says_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take the request, and wait."""
    await reader.read()


BODY = OK + b"Content-Length: %d\r\n\r\n%b"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(64 << 20), 9)
NO_HTTP = "the receiver sent no valid response of HTTP/1.1; check what listens at the webhook's URL"
INCOMPLETE = "the receiver sent a response that is not complete; see its log"
NO_RESPONSE = "the receiver closed the connection without a response; see its log"
TOO_LONG = "the receiver sent a response that is too long; answer with a status and a short body"
TOO_LATE = "the receiver did not answer within 0.5 s; answer at once, and work after the answer"
FAILING: dict[str, tuple[Play, str]] = {
    "many interim responses without an end": (
        repeats(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000),
        TOO_LONG,
    ),
    "a chunk size without an end": (repeats(CHUNKED, b"0" * 65_536), INCOMPLETE),
    "a body byte by byte": (repeats(CHUNKED, b"1\r\nx\r\n", 0.02), TOO_LATE),
    "closed at once": (closes_at_once, NO_RESPONSE),
    "another protocol": (speaks_first, NO_HTTP),
    "silence": (says_nothing, TOO_LATE),
    "a change of protocol": (
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "the receiver answered with the status 101, which has no meaning; check what listens at "
        "the webhook's URL",
    ),
    "nothing changed": (
        says(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        "the receiver answered 304; see its log",
    ),
    "an error with an endless body": (
        repeats(b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * 65_536),
        "the receiver answered 500; see its log",
    ),
}
ACCEPTED: dict[str, Play] = {
    "no body": says(BODY % (0, b"")),
    "204": says(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "broken JSON": says(BODY % (8, b'{"done":')),
    "another type of done": says(BODY % (15, b'{"done":"true"}')),
    "done as a number": says(BODY % (10, b'{"done":1}')),
    "an array": says(BODY % (15, b'[{"done":true}]')),
    "true": says(BODY % (4, b"true")),
    "done within": says(BODY % (22, b'{"data":{"done":true}}')),
    "bytes that are no text": says(BODY % (4, b'"\xff\xfe"')),
    "nested 30,000 times": says(BODY % (60_000, b"[" * 30_000 + b"]" * 30_000)),
    "a body without an end": repeats(OK + b"\r\n", b"x" * 65_536),
    "chunks without an end": repeats(CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
    "done and then without an end": repeats(OK + b"\r\n" + DONE, b" " * 65_536),
    "a length of exabytes": repeats(
        OK + b"Content-Length: 9000000000000000000\r\n\r\n", b"x" * 65_536
    ),
    "compressed zeros": says(
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(BOMB), BOMB)
    ),
}


@pytest.fixture
def _short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let receivers have half a second in place of ten."""
    monkeypatch.setattr(receivers, "CALL_S", CALL_S)


def _states(gateway: Subscribed, metric: str) -> dict[str, float]:
    return {
        one.values[-1]: one.number for one in gateway.engine.samples() if one.metric.name == metric
    }


async def _woken(gateway: Subscribed, at: RawReceiver) -> None:
    """Have a receiver called, and wait for the end of the call."""
    document = {"type": "webhook", "pattern": "*", "webhook": {"url": at.url}}
    assert (await gateway.ask("PUT", "s", document))[0] == 201
    await gateway.create("a", body=b'{"n":1}')
    await until(lambda: at.calls > 0)
    await gateway.quiet()


async def _holds_nothing(gateway: Subscribed, at: RawReceiver) -> None:
    """Assert that a call has left neither a delivery nor a connection nor many bytes."""
    assert _states(gateway, "headgate_subscription_deliveries") == {"running": 0, "waiting": 0}
    await until(lambda: at.open == 0)
    assert at.sent < MOST_TAKEN
    assert at.calls == 1


@pytest.mark.parametrize("kind", FAILING)
async def test_a_call_of_a_hostile_receiver_fails_and_holds_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    play, reason = FAILING[kind]
    if reason == TOO_LATE:
        monkeypatch.setattr(receivers, "CALL_S", CALL_S)
    async with raw_receiver(play) as at, subscribed() as gateway:
        await _woken(gateway, at)
        _, told = await gateway.ask("GET", "s")
        assert told["status"] == "failed"
        assert told["last_error"] == reason
        await _holds_nothing(gateway, at)
        assert _states(gateway, "headgate_subscription_wakes_total")["failed"] == 1
        assert await gateway.cursors("s") == {"a": "-1"}


@pytest.mark.parametrize("kind", ACCEPTED)
async def test_an_answer_that_is_no_document_accepts_the_wake_and_acknowledges_nothing(
    kind: str,
) -> None:
    async with raw_receiver(ACCEPTED[kind]) as at, subscribed() as gateway:
        await _woken(gateway, at)
        assert (await gateway.ask("GET", "s"))[1]["status"] == "active"
        await _holds_nothing(gateway, at)
        assert await gateway.cursors("s") == {"a": "-1"}


@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize(
    "place", ["", "http://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "//127.0.0.1/x"]
)
async def test_a_redirect_is_followed_nowhere(place: str, status: int) -> None:
    async with receiver() as elsewhere:

        async def redirected(_call: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": place or elsewhere.url})

        async with receiver(respond=redirected) as at, subscribed() as gateway:
            await gateway.webhook("s", at, pattern="*")
            await gateway.create("a", body=b'{"n":1}')
            await at.wake()
            await gateway.quiet()
            assert f"answered {status}" in (await gateway.ask("GET", "s"))[1]["last_error"]
            assert (len(at.wakes), elsewhere.received) == (1, [])


async def test_cookies_of_a_receiver_are_not_sent_to_it_again() -> None:
    seen: list[str | None] = []

    async def sets_one(call: web.Request) -> web.StreamResponse:
        seen.append(call.headers.get("Cookie"))
        response = web.json_response({"done": True})
        response.set_cookie("a", "b")
        return response

    async with receiver(respond=sets_one) as at, subscribed() as gateway:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        await gateway.append("a")
        await at.wake(2)
        assert seen == [None, None]


@pytest.mark.usefixtures("_short_calls")
async def test_slow_receivers_do_not_delay_others() -> None:
    release = asyncio.Event()

    async def slow(_call: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    done = {"done": True}
    async with subscribed() as gateway, receiver(respond=slow) as at, receiver(answer=done) as good:
        try:
            for number in range(20):
                await gateway.webhook(f"slow{number}", at, pattern="*")
            await gateway.webhook("good", good, pattern="*")
            await gateway.create("a", body=b'{"n":1}')
            await good.wake()
            assert len(at.wakes) <= 8
            await _all_called(gateway, at, 20)
            _, told = await gateway.ask("GET", "slow0")
            assert TOO_LATE in told["last_error"]
        finally:
            release.set()


async def _all_called(gateway: Subscribed, at: Receiver, number: int) -> None:
    await until(lambda: len(at.wakes) == number)
    await gateway.quiet()
