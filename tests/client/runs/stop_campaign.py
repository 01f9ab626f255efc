"""Runs that are stopped while producers, readers and gateways are killed, at random moments.

Half of the runs are answers of chats. Each has 1 to 10 stops, half of them only once its producer
is dead; its producer and its reader are killed, and so is its gateway. Whoever looks after the last
of these events, once the promised time is over, is told the end; whoever stopped it finds it
stopped; and its chat takes the next message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.chats import Chats
from headgate.errors import StreamError
from headgate.records import beat_s
from headgate.runs import Runs

from tests.support.processes import ROOT, Headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence

    from headgate.chats import Turn

MOST_STOPS = 10
PROCESSES = 3  # of a gateway: each produces an equal share of its runs
AT_ONCE = 2  # gateways
LONGEST_OUTAGE_S = 3.0
STOP_GRACE_S = 1.0
ASK_AGAIN_S = 0.2  # as a page does whose request fails
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is played."""

    runs: int
    gateways: int  # an equal share of the runs each
    kills: int  # of each gateway
    orphan_after: int = 5
    play_s: float = 12.0  # in which all events begin; producers are killed in the first half
    spare_s: float = 2.0  # of what is promised

    def told_after_s(self, *, is_stopped: bool) -> float:
        """Return the promised time after the last event."""
        beats_s = 2 * beat_s(self.orphan_after) + self.spare_s
        return beats_s + (STOP_GRACE_S if is_stopped else self.orphan_after)


# Beside other tests; the campaign itself has less patience.
SHORT = Size(runs=10, gateways=1, kills=1, orphan_after=2, play_s=4.0, spare_s=12.0)


@dataclass(slots=True)
class Found:
    """What the campaign saw."""

    ends: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    late: list[str] = field(default_factory=list)  # who was told too late
    lost: list[str] = field(default_factory=list)  # runs that a stop did not stop
    locked: list[str] = field(default_factory=list)  # chats that took no message
    told_s: list[float] = field(default_factory=list)  # from the last event until readers knew


def words(number: int) -> dict[str, Any]:
    """Return a message of a user."""
    text = {"type": "text", "text": "Tell."}
    return {"id": f"question-{number}", "role": "user", "parts": [text]}


async def endless() -> AsyncIterator[str]:
    """Say something now and then, and nothing for longer than a producer may be silent."""
    longest_s = random.choice([0.2, 2.0, 20.0])
    while True:
        yield "word "
        await asyncio.sleep(random.uniform(0, longest_s))


def _endless(_: Turn) -> AsyncIterator[object]:
    return endless()


async def produce(url: str, orphan_after: int) -> None:
    """Produce the runs and answer the chats that are named on stdin, until it is killed."""
    async with Runs(url, orphan_after=orphan_after, stop_grace=STOP_GRACE_S, ttl=None) as runs:
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            if line.startswith("chat"):
                await Chats(runs).send(line, words(0), _endless)
            else:
                await runs.start(line, endless(), format="ai-sdk")
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


class Played:
    """One run: who reads it, who stops it, and when something happened to it last."""

    def __init__(self, name: str, runs: Runs, size: Size, found: Found) -> None:
        self.name = name
        self.run_id = name
        self.last_event_at = 0.0
        self._runs = runs
        self._chats = Chats(runs, busy_after=0.5)
        self._size = size
        self._found = found
        self._is_stopped = False  # a stop was accepted
        self._told_at: float | None = None  # when a reader was told the end
        self._reading: asyncio.Task[None] | None = None

    def happened(self, event: str) -> None:
        """Note an event, which the promised times count from."""
        self._found.events[event] += 1
        self.last_event_at = time.monotonic()

    async def begin(self) -> None:
        """Find the run, and read it."""
        while self.name.startswith("chat") and self.run_id == self.name:
            with contextlib.suppress(StreamError):  # it is busy with so many beginning
                state = await self._chats.state(self.name)
                assert state is not None
                self.run_id = state.run_id
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            with contextlib.suppress(StreamError):
                answer = await self._runs.follow(self.run_id)
                assert answer is not None
                async with contextlib.aclosing(answer.body):
                    async for _ in answer.body:
                        pass
                self._told_at = time.monotonic()
                return
            await asyncio.sleep(ASK_AGAIN_S)

    async def kill_reader(self, at_s: float) -> None:
        """Kill the reader, and have another one."""
        await asyncio.sleep(at_s)
        if self._told_at is None and self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            self.happened("reader killed")
            self._reading = asyncio.create_task(self._read())

    async def stop(self, at_s: float) -> None:
        """Stop the run; a stop that the server cannot take is none."""
        await asyncio.sleep(at_s)
        with contextlib.suppress(StreamError):
            is_chat = self.name.startswith("chat") and random.random() < 0.5
            began = time.monotonic()
            is_taken = await (
                self._chats.stop(self.name) if is_chat else self._runs.stop(self.run_id)
            )
            if is_taken:
                self._is_stopped = True
                self._found.events["stop"] += 1
                self.last_event_at = max(self.last_event_at, began)

    async def check(self) -> None:
        """Look once the promised time is over, and check what everybody is told."""
        within_s = self._size.told_after_s(is_stopped=self._is_stopped)
        await asyncio.sleep(self.last_event_at + within_s - time.monotonic())
        if self._told_at is None:
            self._found.late.append(f"the reader of {self.run_id}")
        else:
            self._found.told_s.append(self._told_at - self.last_event_at)
        state = await self._runs.state(self.run_id)
        status = "" if state is None else state.status
        self._found.ends[status] += 1
        if status not in {"stopped", "orphaned"}:
            self._found.late.append(f"who asked for the state of {self.run_id}: {state}")
        if self._is_stopped and status != "stopped":
            self._found.lost.append(f"{self.run_id}: {state}")
        if self.name.startswith("chat"):
            await self._check_chat()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _check_chat(self) -> None:
        async def said() -> AsyncIterator[str]:
            yield "Once"

        try:
            answer = await self._chats.send(self.name, words(1), lambda _: said())
            await answer.body.aclose()
        except StreamError as error:
            self._found.locked.append(f"{self.name}: {error}")


class World:
    """One gateway, the processes that produce below it, and their runs."""

    def __init__(self, number: int, size: Size, found: Found, stack: contextlib.ExitStack) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-test-"))
        self._gateway = Headgate(f"file:{folder}").start()
        stack.callback(self._gateway.close)
        self._url = f"{self._gateway.streams}/stops"
        self._size = size
        self._found = found
        share = size.runs // size.gateways
        self._names = [f"{('chat', 'run')[n % 2]}-{number}-{n}" for n in range(share)]
        self._played: list[Played] = []

    async def play(self) -> None:
        """Let everything happen, and check each run."""
        async with Runs(
            self._url, orphan_after=self._size.orphan_after, stop_grace=STOP_GRACE_S, ttl=None
        ) as runs:
            self._played = [Played(name, runs, self._size, self._found) for name in self._names]
            shares = [self._played[number::PROCESSES] for number in range(PROCESSES)]
            processes = await asyncio.gather(*map(self._started, shares))
            await asyncio.gather(*(each.begin() for each in self._played))
            events: list[Awaitable[None]] = [self._kill_gateway()]
            for process, share in zip(processes, shares, strict=True):
                dies_at_s = random.uniform(0, self._size.play_s / 2)
                events += [self._kill(process, share, dies_at_s), *self._events(share, dies_at_s)]
            await asyncio.gather(*events)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(each.check() for each in self._played))

    def _events(self, share: Sequence[Played], dies_at_s: float) -> Iterator[Awaitable[None]]:
        """Return what happens to each run alone."""
        for each in share:
            yield each.kill_reader(random.uniform(0, self._size.play_s))
            first_s = random.choice([0.0, dies_at_s])
            for _ in range(random.randint(1, MOST_STOPS)):
                yield each.stop(random.uniform(first_s, self._size.play_s))

    async def _started(self, share: Sequence[Played]) -> asyncio.subprocess.Process:
        """Start a process that produces these runs."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.client.runs.stop_campaign", self._url, str(self._size.orphan_after)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{each.name}\n" for each in share).encode())
        for _ in share:
            assert await process.stdout.readline(), "the producer ended"
        return process

    async def _kill(
        self, process: asyncio.subprocess.Process, share: Sequence[Played], at_s: float
    ) -> None:
        await asyncio.sleep(at_s)
        process.kill()
        await process.wait()
        for each in share:
            each.happened("producer killed")

    async def _kill_gateway(self) -> None:
        moments = sorted(random.uniform(0, self._size.play_s) for _ in range(self._size.kills))
        began = time.monotonic()
        for moment in moments:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            await asyncio.to_thread(self._gateway.kill)
            await asyncio.sleep(random.uniform(0, LONGEST_OUTAGE_S))
            await asyncio.to_thread(self._gateway.start)
            for each in self._played:
                each.happened("gateway killed")


async def play(size: Size) -> Found:
    """The whole campaign, with gateways of its own."""
    found = Found()
    with contextlib.ExitStack() as stack:
        worlds = [World(number, size, found, stack) for number in range(size.gateways)]
        for first in range(0, len(worlds), AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for world in worlds[first : first + AT_ONCE]:
                    group.create_task(world.play())
    return found


def broken(found: Found, size: Size) -> list[str]:
    """The promises that were not kept."""
    kills = found.events["producer killed"], found.events["gateway killed"]
    kept = {
        f"everybody was to be told the end in time, but not {found.late}": not found.late,
        f"no stop was to be lost, but those of {found.lost}": not found.lost,
        f"no chat was to stay locked, but {found.locked}": not found.locked,
        f"{size.runs} runs were to end, not {found.ends}": found.ends.total() == size.runs,
        f"all producers and gateways were to be killed, not {kills}": (
            kills == (size.runs, size.runs * size.kills)
        ),
        "runs were to be stopped": found.events["stop"] >= size.runs // 2,
    }
    return [promise for promise, is_kept in kept.items() if not is_kept]


if __name__ == "__main__":
    asyncio.run(produce(sys.argv[1], int(sys.argv[2])))
