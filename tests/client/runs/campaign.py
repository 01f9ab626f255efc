"""Runs while everything fails at random, with moves that are drawn from a seed.

Processes that produce runs are killed, and others take their runs over. Readers are cut. The server
is killed, restarted or frozen, or another one on the same Redis takes its place. Runs are stopped,
and their streams are deleted. Other replicas look at all runs meanwhile, and try to take them over.
Whatever happens, all readers of a run have its numbers in order, without a gap, and one end, which
fits what has happened to the run; they have it in the promised time; and a chat whose answer was
such a run takes the next message.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING, Any

from headgate.chats import Chats
from headgate.errors import ABSENT, StreamError
from headgate.records import beat_s
from headgate.runs import Runs, Written
from headgate.runs.cursors import cursor
from tests.client.runs.producer import ASK_AGAIN_S, STOP_GRACE_S, question
from tests.support.origin_servers import reference
from tests.support.processes import ROOT, Headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence

    from headgate.chats import Turn
    from headgate.runs import Answer
    from headgate.runs.cursors import Cursor

SERVERS = ("kill", "restart", "freeze", "failover", "reference")  # which has no outages
KINDS = ("left", "taken", "chat")  # of runs: another process takes over those that are `taken`
READERS = 2  # of each run; the first is never cut
PATIENCE_S = 60.0
EVENT = re.compile(rb"id: ([^\n]+)\n(event: end\n)?data: ([^\n]+)\n\n")


@dataclass(frozen=True, slots=True)
class Size:
    """The size of what is played with each server."""

    runs: int
    processes: int  # each produces an equal share of the runs
    outages: int
    longest_outage_s: float
    play_s: float  # in which all moves begin
    orphan_after: int
    spare_s: float  # of what is promised

    @property
    def last_end_within_s(self) -> float:
        """The promised seconds from the last move until all readers have the end."""
        return self.orphan_after + 2 * beat_s(self.orphan_after) + STOP_GRACE_S + 2 + self.spare_s


# Beside other tests; the campaign itself has less patience.
SHORT = Size(9, 3, outages=1, longest_outage_s=3.0, play_s=6.0, orphan_after=2, spare_s=15.0)


@dataclass(slots=True)
class Found:
    """What the campaign saw."""

    moves: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    last_end_s: list[float] = field(default_factory=list)  # of each server, from the last move on
    broken: list[str] = field(default_factory=list)


class Server:
    """A server that goes away and comes back at its port, in its own way."""

    def __init__(self, kind: str, stack: contextlib.ExitStack) -> None:
        self.kind = kind
        if kind == "reference":
            self.url = f"{stack.enter_context(reference()).url}/campaign"
            return
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-test-"))
        origin = f"file:{folder}"
        if kind == "failover":
            origin = f"redis://127.0.0.1:{stack.enter_context(redis_server(Path(folder))).port}"
        gateways = [Headgate(origin)]
        if kind == "failover":
            gateways.append(Headgate(origin, port=gateways[0].port))
        for gateway in gateways:
            stack.callback(gateway.close)
        self.url = f"{gateways[0].streams}/campaign"
        self._next = cycle(gateways)
        self._current = next(self._next).start()

    async def be_away(self, seconds: float) -> None:
        """Be away for so long, and then back."""
        gateway = self._current
        if self.kind == "freeze":
            assert gateway.process is not None
            gateway.process.send_signal(SIGSTOP)
            await asyncio.sleep(seconds)
            gateway.process.send_signal(SIGCONT)
            return
        await asyncio.to_thread(gateway.terminate if self.kind == "restart" else gateway.kill)
        await asyncio.sleep(seconds)
        self._current = next(self._next)
        await asyncio.to_thread(self._current.start)


class Reader:
    """A reader of a run to its end, which goes on after what it has whenever it is cut."""

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self._id = run_id
        self._after: int | Cursor | None = None
        self._reading: asyncio.Task[None] | None = None
        self.numbers: list[int] = []
        self.has_last = False
        self.end: str | None = None

    async def read(self) -> None:
        """Read to the end, and come back where that fails, as a page does."""
        while self.end is None:
            with contextlib.suppress(StreamError):
                after = random.choice([self._after, len(self.numbers)])
                answer = await self._runs.follow(self._id, after)
                if answer is None:
                    self.end = "gone"
                    return
                self._reading = asyncio.create_task(self._take(answer))
                await asyncio.wait({self._reading})
                if not self._reading.cancelled():
                    self._reading.result()
            await asyncio.sleep(ASK_AGAIN_S)

    def cut(self) -> bool:
        """Cut the connection; False when there is none."""
        return self._reading is not None and self._reading.cancel()

    async def _take(self, answer: Answer) -> None:
        body = b""
        is_chat = "x-vercel-ai-ui-message-stream" in answer.headers
        async with contextlib.aclosing(answer.body):
            async for piece in answer.body:
                body += piece
                for found in () if is_chat else EVENT.finditer(body):
                    self._see(json.loads(found[3]), is_end=bool(found[2]))
                    self._after = cursor({}, {"Last-Event-ID": found[1].decode()})
                body = body if is_chat else body[body.rfind(b"\n\n") + 2 :]
        if is_chat:
            self.end = "read"
        assert self.end is not None, "a body ended without the end of its run"

    def _see(self, data: dict[str, Any], *, is_end: bool) -> None:
        if is_end:
            self.end = data["status"]
        else:
            self.numbers.append(data["n"])
            self.has_last = "is_last" in data


@dataclass(slots=True)
class Played:
    """A run, and what has happened to it."""

    run_id: str
    kind: str
    chat: str
    readers: list[Reader] = field(repr=False)
    is_produced: bool = True
    is_asked_to_stop: bool = False
    is_stopped: bool = False
    is_taken: bool = False  # by another replica, once no process produced it
    is_deleted: bool = False

    def fits(self, end: str) -> bool:
        """Return whether this may be the end of it."""
        if self.is_deleted:
            return True
        if self.is_stopped:
            return end == "stopped"
        ends = {"finished"} if self.is_produced or self.is_taken else {"orphaned"}
        return end in ends or (end == "stopped" and self.is_asked_to_stop)


class World:
    """One server, the processes that produce below it, their runs and all who look at them."""

    def __init__(self, server: Server, size: Size, found: Found) -> None:
        self._server = server
        self._size = size
        self._found = found
        self._is_away = asyncio.Lock()  # one outage at a time
        self._runs: list[Played] = []
        self._processes: list[asyncio.subprocess.Process] = []
        self._is_killed = [asyncio.Lock() for _ in range(size.processes)]

    async def play(self) -> None:
        """Let everything happen, and check each run."""
        after, size = self._size.orphan_after, self._size
        names = [f"{kind}-{n}" for n, kind in zip(range(size.runs), cycle(KINDS), strict=False)]
        async with Runs(
            self._server.url, orphan_after=after, takeover_within=120, ttl=None
        ) as others:
            for share in range(size.processes):
                self._processes.append(await self._started(names[share :: size.processes]))
            self._runs = [await self._played(others, name) for name in names]
            reading = [
                asyncio.create_task(reader.read()) for run in self._runs for reader in run.readers
            ]
            await asyncio.gather(*(self._later(*move) for move in self._moves(others)))
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.close()
            began = time.monotonic()
            await asyncio.wait(reading, timeout=size.last_end_within_s)
            self._found.last_end_s.append(time.monotonic() - began)
            for run in self._runs:
                try:
                    await self._check(others, run)
                except (AssertionError, StreamError) as error:
                    self._found.broken.append(f"{run.run_id}: {error!r} {run}")
            for task in reading:
                task.cancel()
        for process in self._processes:
            async with asyncio.timeout(PATIENCE_S):
                assert await process.wait() == 0

    async def _started(self, names: Sequence[str]) -> asyncio.subprocess.Process:
        """Start a process that produces these runs."""
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "tests.client.runs.producer",
                self._server.url,
                str(self._size.orphan_after),
            ),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for name in names:
            process.stdin.write(f"{name}\n".encode())
            assert await process.stdout.readline(), "the producer ended"
        return process

    async def _played(self, others: Runs, name: str) -> Played:
        kind, run_id = name.partition("-")[0], name
        while kind == "chat" and run_id == name:
            state = await Chats(others).state(name)
            assert state is not None
            run_id = state.run_id
        return Played(run_id, kind, name, [Reader(others, run_id) for _ in range(READERS)])

    def _moves(self, others: Runs) -> Iterator[tuple[str, Awaitable[bool]]]:
        for run in self._runs:
            yield from (("cut", self._cut(run)) for _ in range(random.randint(0, 4)))
            yield from (("look", self._look(others, run)) for _ in range(random.randint(1, 8)))
        for run in random.sample(self._runs, len(self._runs) // 3):
            yield from (("stop", self._stop(others, run)) for _ in range(random.randint(1, 4)))
        for run in random.sample(self._runs, 1 + len(self._runs) // 20):
            yield "delete", self._delete(others, run)
        for number in range(self._size.processes - 1):  # the last one lives on
            yield from (("kill", self._kill(number)) for _ in range(random.randint(1, 3)))
        if self._server.kind != "reference":
            yield from (("outage", self._outage()) for _ in range(self._size.outages))

    async def _later(self, name: str, move: Awaitable[bool]) -> None:
        await asyncio.sleep(random.uniform(0, self._size.play_s))
        with contextlib.suppress(StreamError, TimeoutError):  # the server is away
            async with asyncio.timeout(PATIENCE_S if name in {"look", "stop"} else None):
                is_made = await move
                self._found.moves[name] += is_made

    async def _cut(self, run: Played) -> bool:
        return random.choice(run.readers[1:]).cut()

    async def _look(self, others: Runs, run: Played) -> bool:
        """Look at a run as another replica that may end it, or take it."""

        async def last(written: Written) -> AsyncIterator[object]:
            yield {"n": written.items, "is_of_step": False, "is_last": True}

        def taken(written: Written) -> AsyncIterator[object]:
            if run.is_produced and not run.is_deleted:  # which is begun anew
                self._found.broken.append(f"{run.run_id} was taken from its producer")
            run.is_taken = True
            return last(written)

        look = random.choice(["state", "follow", "take_over"])
        if look == "state":
            await others.state(run.run_id)
        elif look == "follow" or run.kind != "left":
            answer = await others.follow(run.run_id, only_active=True)
            if answer is not None:
                await answer.body.aclose()
        else:
            await others.take_over(run.run_id, taken, format="sse")
        return True

    async def _stop(self, others: Runs, run: Played) -> bool:
        run.is_asked_to_stop = True
        if run.kind == "chat" and random.random() < 0.5:
            is_stopped = await Chats(others).stop(run.chat)
        else:
            is_stopped = await others.stop(run.run_id)
        run.is_stopped |= is_stopped
        return is_stopped

    async def _delete(self, others: Runs, run: Played) -> bool:
        run.is_deleted = True
        while True:
            try:
                await others._place(run.run_id).items.delete()
            except ABSENT:
                return True
            except StreamError:  # the server is away, and may have deleted it
                await asyncio.sleep(ASK_AGAIN_S)
            else:
                return True

    async def _kill(self, number: int) -> bool:
        """Kill a process, and have another one take over what may be."""
        async with self._is_killed[number]:
            runs = self._runs[number :: self._size.processes]
            for run in runs:
                run.is_produced = run.kind == "taken"
            self._processes[number].kill()
            await self._processes[number].wait()
            left = [run.run_id for run in runs if run.kind == "taken" and not run.is_deleted]
            self._processes[number] = await self._started(left)
        return True

    async def _outage(self) -> bool:
        async with self._is_away:
            await self._server.be_away(random.uniform(0.5, self._size.longest_outage_s))
        return True

    async def _check(self, others: Runs, run: Played) -> None:
        for reader in run.readers:
            assert reader.end is not None, "a reader did not get the end in time"
            assert reader.numbers == [*range(len(reader.numbers))], reader.numbers
            assert run.is_deleted or reader.numbers == run.readers[0].numbers
            assert reader.end != "finished" or reader.has_last
        state = await others.state(run.run_id)
        end = "gone" if state is None else state.status
        self._found.ends[end] += 1
        assert run.fits(end), f"it is not to be {state}"
        if run.is_deleted:
            return
        if run.kind != "chat":
            assert {reader.end for reader in run.readers} == {end}
            return

        async def answer_of(_: Turn) -> AsyncIterator[object]:
            yield "Once"

        answer = await Chats(others, busy_after=0.5).send(run.chat, question(1), answer_of)
        await answer.body.aclose()


async def play(servers: Sequence[str], size: Size) -> Found:
    """Play the whole campaign with these servers at once."""
    found = Found()
    with contextlib.ExitStack() as stack:
        worlds = [World(Server(kind, stack), size, found) for kind in servers]
        await asyncio.gather(*(world.play() for world in worlds))
    missing = {"cut", "look", "stop", "delete", "kill"} - found.moves.keys()
    if missing:
        found.broken.append(f"nothing was played of {missing}")
    return found
