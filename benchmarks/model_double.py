"""A provider of models for benchmarks: `python -m benchmarks.model_double PORT`.

It answers each POST with as many events as its JSON body says: `tokens` of them, `per_second`, or
as fast as they are taken if that is 0, each with `size` bytes of text, after `wait_ms`. An event
has the time of the monotonic clock, in nanoseconds, at which it was sent. It speaks as much HTTP
as that takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 20  # of a period: calls are spread over them, so that few are due at once
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
AT_ONCE = 16  # events, then others have their turn
_BEFORE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1694268190,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"'
)
_BETWEEN = b'"},"finish_reason":null}],"sent_ns":"'
_AFTER = b'"}\n\n'
_STAMP = 20  # digits
_LAST = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Ticker:
    """The clock by which calls with a rate get their events."""

    def __init__(self) -> None:
        self._slots: dict[float, list[list[Call]]] = {}
        self._next = 0

    def add(self, call: Call, per_second: float) -> None:
        """Let a call send its events at a rate."""
        if per_second not in self._slots:
            self._slots[per_second] = [[] for _ in range(SLOTS)]
            loop = asyncio.get_running_loop()
            loop.call_soon(self._tick, per_second, 0, loop.time())
        self._slots[per_second][self._next % SLOTS].append(call)
        self._next += 1

    def _tick(self, per_second: float, slot: int, due: float) -> None:
        slots = self._slots[per_second]
        slots[slot] = [call for call in slots[slot] if call.send_one()]
        due += 1 / per_second / SLOTS
        loop = asyncio.get_running_loop()
        loop.call_at(due, self._tick, per_second, (slot + 1) % SLOTS, due)


class Call(asyncio.Protocol):
    """A connection, which has one call at a time."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._transport: Any = None
        self._received = b""
        self._left = 0  # events
        self._event_head = self._event_tail = b""
        self._is_paused = False
        self._is_gone = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._is_gone = True

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = next(_lengths(head), 0)
        if len(body) < length:
            return
        self._received = body[length:]
        self._start(json.loads(body[:length]))

    def _start(self, asked: dict[str, Any]) -> None:
        self._left = asked["tokens"]
        text = b"t" * asked.get("size", 4)
        length = len(_BEFORE) + len(text) + len(_BETWEEN) + _STAMP + len(_AFTER)
        self._event_head = b"%x\r\n%b%b%b" % (length, _BEFORE, text, _BETWEEN)
        self._event_tail = _AFTER + b"\r\n"
        wait_s, rate = asked.get("wait_ms", 0) / 1000, asked.get("per_second", 0)
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._begin, rate)
        else:
            self._begin(rate)

    def _begin(self, rate: float) -> None:
        if self._is_gone:
            return
        self._transport.write(HEAD)
        if rate:
            self._ticker.add(self, rate)
        else:
            self._send_many()

    def send_one(self) -> bool:
        """Send an event; return whether there are more."""
        if self._is_gone:
            return False
        self._transport.write(self._event())
        self._left -= 1
        if self._left:
            return True
        self._transport.write(chunk(_LAST) + b"0\r\n\r\n")
        return False

    def _send_many(self) -> None:
        more = True
        for _ in range(AT_ONCE):
            if self._is_paused or not (more := self.send_one()):
                break
        if more and not self._is_gone:
            loop = asyncio.get_running_loop()
            if self._is_paused:
                loop.call_later(0.001, self._send_many)
            else:
                loop.call_soon(self._send_many)

    def _event(self) -> bytes:
        stamp = b"%020d" % time.monotonic_ns()
        return b"%b%b%b" % (self._event_head, stamp, self._event_tail)


def _lengths(head: bytes) -> Iterator[int]:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            yield int(value)


async def serve(port: int) -> None:
    """Answer calls for ever."""
    ticker = Ticker()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Call(ticker), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
