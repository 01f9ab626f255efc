"""How late tokens are, when the server is 20 ms away.

    python -m benchmarks.latency [--tokens 2000] [--every-ms 5]

One token after the other goes to a Headgate in memory by a way that takes 20 ms there and 20 ms
back. A reader beside the server says when each is there. Its added delay is what a token took
more than the 20 ms that nobody can spare it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from headgate import StreamWriter
from headgate.following import follow
from headgate.stream_requests import StreamRequests
from tests.client.writing import JSON, TEXT, made
from tests.support.delaying_proxy import DelayingProxy
from tests.support.processes import NODE, ROOT
from tests.support.processes import headgate as headgate_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    # Writes the tokens to a URL; when the first was made, and when the last was stored.
    Way = Callable[[str, "Pace"], Awaitable[tuple[float, float]]]

LATENCY_MS = 20.0
FLUSH_MS = 10.0
TOKEN_WRITER = ROOT / "tests" / "node" / "token_writer.mjs"
MOST_OVER_MS = 100.0  # of the whole, beyond the tokens' own duration
MOST_ADDED_MS = FLUSH_MS + 2 * LATENCY_MS + 5.0  # of a token, p99


@dataclass(frozen=True, slots=True)
class Pace:
    """So many tokens, one every so many milliseconds."""

    count: int
    every_ms: float

    @property
    def duration_ms(self) -> float:
        """From the first to the last."""
        return (self.count - 1) * self.every_ms

    async def tokens(self) -> AsyncIterator[tuple[int, float]]:
        """Each when it is due, or as soon as its writer asks for it: its number and the moment."""
        began = _now_ms()
        for number in range(self.count):
            await asyncio.sleep((began + number * self.every_ms - _now_ms()) / 1000)
            yield number, _now_ms()


@dataclass(frozen=True, slots=True)
class Row:
    """What one way of writing came to."""

    name: str
    requests: int
    over_ms: float
    p50_ms: float
    p99_ms: float

    @property
    def is_met(self) -> bool:
        """Whether it is as quick as a writer has to be."""
        return self.over_ms <= MOST_OVER_MS and self.p99_ms <= MOST_ADDED_MS

    def __str__(self) -> str:
        return (
            f"| {self.name} | {self.requests:,} | {self.over_ms:,.0f} ms | {self.p50_ms:,.0f} ms "
            f"| {self.p99_ms:,.0f} ms |"
        )


async def written_in_batches(url: str, pace: Pace) -> tuple[float, float]:
    """By the writer."""
    async with StreamWriter(url) as writer:
        began = _now_ms()
        as_text = not writer.content_type.endswith("json")
        async for token in pace.tokens():
            await writer.write(json.dumps(token) + "," if as_text else token)
        await writer.flush()
        return began, _now_ms()


async def posted_one_by_one(url: str, pace: Pace) -> tuple[float, float]:
    """By a request for each token, which the next one waits for."""
    async with StreamRequests(url) as stream:
        began = _now_ms()
        async for token in pace.tokens():
            await stream.append(json.dumps([token]).encode(), content_type=JSON)
        return began, _now_ms()


def by_the_official_client(way: str) -> Way:
    """By `@durable-streams/client`, in a process of its own."""

    async def write(url: str, pace: Pace) -> tuple[float, float]:
        process = await asyncio.create_subprocess_exec(
            *(str(NODE), str(TOKEN_WRITER), url, way, str(pace.count), str(pace.every_ms)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, "the official client failed"
        told = json.loads(output)
        return told["began"], told["ended"]

    return write


WAYS: dict[str, tuple[str, Way]] = {
    "`StreamWriter`, JSON": (JSON, written_in_batches),
    "`StreamWriter`, text by multi-appends": (TEXT, written_in_batches),
    "`IdempotentProducer` of `@durable-streams/client`": (JSON, by_the_official_client("producer")),
    "`append` of `@durable-streams/client`, not awaited": (JSON, by_the_official_client("append")),
    "one POST a token": (JSON, posted_one_by_one),
}


async def measured(port: int, name: str, pace: Pace) -> Row:
    """One way of writing, to the Headgate that listens there."""
    content_type, write = WAYS[name]
    async with DelayingProxy(port, latency_s=LATENCY_MS / 1000) as way:
        url = await made(f"http://127.0.0.1:{way.port}", content_type)
        reading = asyncio.create_task(_added_ms(url.replace(str(way.port), str(port)), pace.count))
        began, ended = await write(url, pace)
        added = sorted(await reading)
    over_ms = ended - began - pace.duration_ms
    return Row(name, way.appends, over_ms, added[len(added) // 2], added[len(added) * 99 // 100])


async def _added_ms(url: str, count: int) -> list[float]:
    """Return the added delay of each token, by a reader beside the server."""
    added: list[float] = []
    async with StreamRequests(url) as stream:
        async for batch in follow(stream, "-1"):
            there = _now_ms()
            for body in batch.bodies:
                tokens = json.loads(body if body.startswith(b"[[") else b"[%b]" % body.strip(b","))
                added += [there - made - LATENCY_MS for _, made in tokens]
            if len(added) == count:
                return added
    raise AssertionError("the stream was closed")


def _now_ms() -> float:
    """Of the clock that all processes of this machine share."""
    return time.time_ns() / 1e6


async def measure(port: int, pace: Pace) -> bool:
    """Print a table of all ways of writing; whether the writer is as quick as it has to be."""
    click.echo(f"{pace.count:,} tokens, one every {pace.every_ms:g} ms, {LATENCY_MS:g} ms each way")
    click.echo("| | requests | whole time over the tokens' own | added delay p50 | p99 |")
    click.echo("| --- | --- | --- | --- | --- |")
    are_met = True
    for name, (_, way) in WAYS.items():
        row = await measured(port, name, pace)
        click.echo(row)
        are_met = are_met and (row.is_met or way is not written_in_batches)
    return are_met


def main() -> None:
    """From the command line; exit status 1 when the writer is later than it may be."""
    parser = argparse.ArgumentParser(description="How late tokens are.")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--every-ms", type=float, default=5.0)
    asked = parser.parse_args()
    with headgate_server() as server:
        are_met = asyncio.run(measure(server.port, Pace(asked.tokens, asked.every_ms)))
    sys.exit(not are_met)


if __name__ == "__main__":
    main()
