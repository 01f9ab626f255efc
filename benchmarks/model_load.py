"""The clients of model routes in benchmarks: `python -m benchmarks.model_load JSON`.

The JSON has the `targets`, each a port and a path, and what is asked of them. It prints figures as
JSON: of times in milliseconds, and of the tokens and bytes that came.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from typing import Any

import uvloop

_SENT = re.compile(rb'"sent_ns":"(\d{20})"')
_END = b"\r\n0\r\n\r\n"
_LONGEST_TAIL = 64  # bytes, in which an event's time or the end may lie between two reads
WARM_CALLS = 50


# What an SDK sends besides: an application that makes its calls resumable adds the key.
OF_AN_SDK = (
    b"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
    b"User-Agent: AsyncOpenAI/Python 3.57.0\r\nX-Stainless-Lang: python\r\n"
    b"X-Stainless-Package-Version: 3.57.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n"
    b"X-Stainless-Runtime: CPython\r\nX-Stainless-Async: async:asyncio\r\n"
    b"X-Stainless-Retry-Count: 0\r\nX-Stainless-Read-Timeout: 600\r\n"
    b"X-Request-Id: bench-%d\r\nIdempotency-Key: bench-%d\r\n"
)


class ModelClient(asyncio.Protocol):
    """A connection that asks for one answer after the other, and notes when its events come."""

    def __init__(self, delays_ns: list[int]) -> None:
        """Add the delay of each event, since it was sent, to `delays_ns`."""
        self.first_at = 0  # ns
        self.tokens = 0
        self.size = 0
        self._delays = delays_ns
        self._transport: Any = None
        self._tail = b""
        self._is_answered = False
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the server has closed the connection"))

    async def ask(self, path: str, body: bytes, fields: bytes = b"") -> None:
        """Send a request, and return when its answer is complete."""
        self.first_at = 0
        self._is_answered = False
        self._tail = b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(
            b"POST %b HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer sk-bench\r\n"
            b"Content-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
            % (path.encode(), fields, len(body), body)
        )
        await self._done

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.size += len(data)
        if not self._is_answered:
            if not data.startswith(b"HTTP/1.1 200 "):
                assert self._done is not None
                self._done.set_exception(ConnectionError(data[:300].decode(errors="replace")))
                return
            self._is_answered = True
        data = self._tail + data
        end = 0
        for found in _SENT.finditer(data):
            self._delays.append(now - int(found[1]))
            self.first_at = self.first_at or now
            self.tokens += 1
            end = found.end()
        if data.endswith(_END) and self._done is not None and not self._done.done():
            self._done.set_result(None)
        self._tail = data[max(end, len(data) - _LONGEST_TAIL) :]


async def connected(port: int, delays_ns: list[int]) -> ModelClient:
    """Return a client whose connection is made."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: ModelClient(delays_ns), "127.0.0.1", port)
    return client


def quantiles(values_ns: list[int], name: str = "") -> dict[str, float]:
    """Return the median and the 99th percentile in milliseconds."""
    values = sorted(values_ns)
    last = len(values) - 1
    return {
        f"{name}p50_ms": values[last // 2] / 1e6,
        f"{name}p99_ms": values[last * 99 // 100] / 1e6,
    }


async def first_tokens(asked: dict[str, Any]) -> dict[str, float]:
    """Return the times to the first token, of calls to two targets in turns."""
    asking = {"model": "m", "stream": True, "tokens": 3, "wait_ms": asked["wait_ms"]}
    body = json.dumps(asking).encode()
    clients = [(await connected(port, []), path) for port, path in asked["targets"]]
    times: list[list[int]] = [[] for _ in clients]
    for number in range(asked["calls"] + WARM_CALLS):
        for (client, path), took in zip(clients, times, strict=True):
            stamp = time.monotonic_ns()  # no call has the key of another
            fields = OF_AN_SDK % (stamp, stamp) if asked["is_as_sent"] else b""
            began = time.monotonic_ns()
            await client.ask(path, body, fields)
            if number >= WARM_CALLS:
                took.append(client.first_at - began)
    direct, through = times
    figures = {**quantiles(direct, "direct_"), **quantiles(through)}
    for quantile in ("p50_ms", "p99_ms"):
        figures[f"added_{quantile}"] = figures[quantile] - figures[f"direct_{quantile}"]
    return figures


async def answers_at_once(asked: dict[str, Any]) -> dict[str, float]:
    """Return the delays of the tokens of many answers that come at once, at a rate each."""
    (port, path), answers, seconds = asked["targets"][0], asked["answers"], asked["seconds"]
    tokens = int(asked["per_second"] * seconds)
    body = json.dumps(
        {"model": "m", "stream": True, "tokens": tokens, "per_second": asked["per_second"]}
    ).encode()
    delays: list[int] = []
    clients = [await connected(port, delays) for _ in range(answers)]
    asking = []
    for client in clients:
        asking.append(asyncio.ensure_future(client.ask(path, body)))
        await asyncio.sleep(1 / answers)
    await asyncio.sleep(0.2)  # until all have begun
    delays.clear()
    began = time.monotonic()
    await asyncio.gather(*asking)
    took = time.monotonic() - began
    return {**quantiles(delays), "tokens_per_s": len(delays) / took}


async def many_answers(asked: dict[str, Any]) -> dict[str, float]:
    """Return how long many short answers take, some at once."""
    (port, path), left = asked["targets"][0], asked["answers"]
    body = json.dumps({"model": "m", "stream": True, "tokens": asked["tokens"]}).encode()

    async def work() -> None:
        nonlocal left
        client = await connected(port, [])
        while left > 0:
            left -= 1
            await client.ask(path, body)

    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(asked["at_once"])))
    return {"answers_per_s": asked["answers"] / (time.monotonic() - began)}


async def long_answer(asked: dict[str, Any]) -> dict[str, float]:
    """Return how fast one long answer comes."""
    (port, path), events, size = asked["targets"][0], asked["events"], asked["size"]
    body = json.dumps({"model": "m", "stream": True, "tokens": events, "size": size}).encode()
    client = await connected(port, [])
    began = time.monotonic()
    await client.ask(path, body)
    if client.tokens != events:
        raise ConnectionError(f"{client.tokens} of {events} events have come")
    return {"mb_per_s": client.size / 1e6 / (time.monotonic() - began), "mb": client.size / 1e6}


LOADS = {
    "first": first_tokens,
    "at once": answers_at_once,
    "many": many_answers,
    "long": long_answer,
}


async def main() -> None:
    """Put the load of the arguments on the targets, and print the figures."""
    asked = json.loads(sys.argv[1])
    began = time.monotonic()
    figures = await LOADS[asked["load"]](asked)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = time.monotonic() - began
    figures["tool_cpu"] = (used.ru_utime + used.ru_stime) / seconds
    figures["seconds"] = seconds
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main())
