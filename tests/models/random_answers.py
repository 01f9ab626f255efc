"""Random answers of providers: whole, cut, unended, silent, failed, numbered, garbled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.models.answers import chat_completion, event, message, response
from tests.support.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

COMPOSE: dict[str, Callable[[Sequence[str]], list[bytes]]] = {
    "chat": chat_completion,
    "response": response,
    "message": message,
}
# Events with the end of an answer, from its end: the reason of a chat, its usage, and [DONE].
ENDING = {"chat": 3, "response": 1, "message": 1}
ERRORS = {
    "chat": event({"error": {"message": "Busy", "type": "overloaded_error", "code": None}}),
    "response": event(
        {"type": "error", "sequence_number": 99, "code": "busy", "message": "Busy", "param": None},
        "error",
    ),
    "message": event(
        {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, "error"
    ),
}
# What is between two events and is none: for all SDKs, and for some of them nevertheless.
NOTHING = (
    *(b"\n", b"\n\n", b"\n\n\n", b": wait\n", b": wait\n\n", b": wait\n\n\n"),
    *(b"\n: wait\n\n", b"foo: bar\n\n", b"ping\n\n", b" \n\n"),
)
SOMETHING = (b"event: ping\n\n", b"retry: 9\n\n", b"event: x\n: y\n\n")
BOM = b"\xef\xbb\xbf"
ENDS = ("whole", "cut", "silent", "unended", "closed", "error", "late cut", "no blank line")
NOISE = ("none", "nothing", "something", "numbered", "garbled", "BOM", "line ends", "all")
SILENCE_S = 8.0  # then the provider breaks off


@dataclass(slots=True)
class RandomAnswer:
    """An answer of a provider: the bytes of its body, and what is odd about them."""

    kind: str
    end: str
    noise: str
    pieces: list[bytes]
    has_end: bool


def random_answer(number: int, seed: int) -> RandomAnswer:
    """Return the answer with a number: each kind, end and noise comes as often as the others."""
    rng = random.Random(f"{seed}-{number}")
    kind = (*COMPOSE,)[number % 3]
    end, noise = ENDS[number // 3 % len(ENDS)], rng.choice(NOISE)
    words = [
        rng.choice(("Grüße", " 東京", " a", "\n", '"\\', " 👩‍👩‍👧"))
        for _ in range(rng.randrange(2, 9))
    ]
    events = COMPOSE[kind](words)
    has_end = end in ("whole", "late cut", "no blank line")
    if not has_end:
        del events[rng.randrange(0, len(events) - ENDING[kind] + 1) :]
    if end == "error":
        events.append(ERRORS[kind])
    if noise == "garbled":
        at = rng.randrange(len(events) + 1)
        events.insert(at, event({"choices": [1], "type": "x"})[:17] + b"\n\n")
    body = b"".join(_noisy(one, number, noise, rng) for number, one in enumerate(events))
    if noise in ("BOM", "all"):
        body = BOM + body
    if noise in ("line ends", "all"):
        body = body.replace(b"\n", rng.choice((b"\r\n", b"\r")))
    if end == "no blank line":
        body = body.rstrip(b"\r\n")
    elif not has_end and end != "error" and events and rng.random() < 0.4:
        body = body[: -rng.randrange(2, 30)]  # amid the last event
    return RandomAnswer(kind, end, noise, _pieces(body, rng), has_end)


def _noisy(one: bytes, number: int, noise: str, rng: random.Random) -> bytes:
    """Return an event with what comes before it."""
    before = b""
    if noise in ("nothing", "all"):
        before = rng.choice(NOTHING)
    elif noise == "something":
        before = rng.choice(SOMETHING)
    if noise in ("numbered", "all"):
        line = b"id: up-%d\n" % number
        one = line + one if rng.random() < 0.5 else one[:-1] + line + b"\n"
    return before + one


def _pieces(body: bytes, rng: random.Random) -> list[bytes]:
    """Return the body in pieces, as it is written."""
    longest = rng.choice((11, 100, 10_000))
    pieces = []
    while body:
        size = rng.randrange(1, longest + 1)
        pieces.append(body[:size])
        body = body[size:]
    return pieces


class RandomProvider:
    """A provider that answers a request for the model `N` with the random answer number N."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.url = ""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            await self._send(random_answer(int(body["model"]), self.seed), writer)
        writer.close()

    @staticmethod
    async def _send(answer: RandomAnswer, writer: asyncio.StreamWriter) -> None:
        is_chunked = answer.end != "closed"
        framing = b"Transfer-Encoding: chunked\r\n" if is_chunked else b""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
            + framing
            + b"\r\n"
        )
        for piece in answer.pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await writer.drain()
            await asyncio.sleep(0)
        if answer.end in ("cut", "silent", "late cut"):
            await asyncio.sleep(SILENCE_S if answer.end == "silent" else 0.05)
        elif is_chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[RandomProvider]:
        """Serve on a free port."""
        async with Listener(self.play) as server:
            self.url = f"http://127.0.0.1:{server.port}"
            yield self
