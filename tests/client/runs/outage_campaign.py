"""Servers that are away for 1 to 25 seconds, again and again, under runs whose producers live.

The outages are restarts, kills and freezes of a gateway, and failovers to another gateway on the
same Redis. Meanwhile others look at the runs at
random moments, read them, and try to take them over. No run is ended or taken from its producer,
and at the end each has all of its items.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.errors import StreamError
from headgate.records import ORPHAN_AFTER_S
from headgate.runs import Runs, RunState

from tests.client.runs.campaign import Reader
from tests.support.processes import Headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from headgate.runs import Written

KINDS = ("restart", "kill", "freeze", "failover")
LONGEST_PAUSE_S = 12.0  # of a source
PATIENCE_S = 90.0
RETRY_FOR_S = 120.0  # of the producers: a source is not to fail for lack of a server


@dataclass(frozen=True, slots=True)
class Size:
    """How much is played."""

    outages: int
    servers: int  # at once, an equal share of the outages each
    runs: int  # of a server
    longest_s: float = 25.0  # of an outage; the shortest takes a second
    lull_s: float = 8.0  # between two outages, at most
    orphan_after: int = ORPHAN_AFTER_S


SHORT = Size(outages=4, servers=4, runs=5, longest_s=5.0, lull_s=1.0, orphan_after=2)


@dataclass(slots=True)
class Found:
    """What the campaign saw."""

    outages: int = 0
    looks: int = 0
    ends: list[str] = field(default_factory=list)  # of runs whose producers lived
    back_s: list[float] = field(default_factory=list)  # until all leases were held again


class Gateways:
    """A gateway that goes away and comes back at one port, as one kind of outage has it."""

    def __init__(self, kind: str, origin: str) -> None:
        self.kind = kind
        first = Headgate(origin)
        count = 2 if kind == "failover" else 1
        self._all = [first, *(Headgate(origin, port=first.port) for _ in range(1, count))]
        self._next = cycle(self._all)
        self._current = next(self._next).start()
        self.url = f"{first.streams}/outages"

    async def be_away(self, seconds: float) -> None:
        """Be away for so long, and then back."""
        gateway = self._current
        if self.kind == "freeze":
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            gateway.process.send_signal(signal.SIGCONT)
            return
        end = gateway.terminate if self.kind == "restart" else gateway.kill
        await asyncio.to_thread(end)  # it waits for the process
        await asyncio.sleep(seconds)
        self._current = next(self._next)
        await asyncio.to_thread(self._current.start)

    def close(self) -> None:
        """Kill them."""
        for gateway in self._all:
            gateway.close()


@contextlib.contextmanager
def served(kind: str) -> Iterator[Gateways]:
    """Gateways for one kind of outage, whose log outlives them."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-test-")))
        if kind == "failover":
            origin = f"redis://127.0.0.1:{stack.enter_context(redis_server(folder)).port}"
        else:
            origin = f"file:{folder}"
        gateways = Gateways(kind, origin)
        stack.callback(gateways.close)
        yield gateways


class World:
    """The runs of one server, their readers, and who else looks at them."""

    def __init__(self, gateways: Gateways, size: Size, found: Found) -> None:
        self._gateways = gateways
        self._size = size
        self._found = found
        self._is_over = asyncio.Event()
        self._ids = [f"run-{number}" for number in range(size.runs)]
        self._counts = dict.fromkeys(self._ids, 0)

    async def play(self, outages: int) -> None:
        """Play the outages, and check what has become of the runs."""
        url, after = self._gateways.url, self._size.orphan_after
        async with (
            Runs(url, orphan_after=after, retry_for=RETRY_FOR_S) as producers,
            Runs(url, orphan_after=after, takeover_within=60) as others,
        ):
            for run_id in self._ids:
                await producers.start(run_id, self._source(run_id), format="sse")
            looking = [asyncio.create_task(self._look(others, run_id)) for run_id in self._ids]
            readers = [Reader(others, run_id) for run_id in self._ids]
            reading = [asyncio.create_task(self._read(reader)) for reader in readers]
            for _ in range(outages):
                await asyncio.sleep(random.uniform(0, self._size.lull_s))
                await self._gateways.be_away(random.uniform(1.0, self._size.longest_s))
                self._found.outages += 1
                await self._note_return(others)
            await asyncio.sleep(2 * after)  # whoever would still end them
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
            self._is_over.set()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*reading)
            await self._check(others, readers)

    async def _source(self, run_id: str) -> AsyncIterator[dict[str, int]]:
        longest_s = random.choice([0.5, 2.0, LONGEST_PAUSE_S])
        while not self._is_over.is_set():
            yield {"n": self._counts[run_id]}
            self._counts[run_id] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), random.uniform(0, longest_s))

    async def _look(self, runs: Runs, run_id: str) -> None:
        """Look at the run again and again, as whoever may end it, or take it."""

        def taken(_: Written) -> AsyncIterator[object]:
            raise AssertionError(f"{run_id} was taken from its producer")

        looks: list[Callable[[], object]] = [
            lambda: runs.state(run_id),
            lambda: runs.follow(run_id, only_active=True),
            lambda: runs.take_over(run_id, taken, format="sse"),
        ]
        while True:
            await asyncio.sleep(random.uniform(0, 3))
            with contextlib.suppress(StreamError, TimeoutError):
                async with asyncio.timeout(self._size.longest_s):  # a frozen server answers late
                    answer = await random.choice(looks)()  # type: ignore[misc]
                    self._found.looks += 1
                    if answer is not None and not isinstance(answer, RunState):
                        await answer.body.aclose()

    async def _read(self, reader: Reader) -> None:
        """Read to the end, and come back where that fails, as a page does."""
        while True:
            try:
                return await reader.read()
            except StreamError:
                await asyncio.sleep(0.2)

    async def _note_return(self, runs: Runs) -> None:
        """Note how long it takes until all producers have their leases again."""
        began = time.monotonic()
        for run_id in self._ids:
            with contextlib.suppress(StreamError):
                lease = runs._place(run_id).lease
                while await lease.find() is None and time.monotonic() - began < PATIENCE_S:
                    await asyncio.sleep(0.05)
        self._found.back_s.append(time.monotonic() - began)

    async def _check(self, runs: Runs, readers: Sequence[Reader]) -> None:
        for run_id, reader in zip(self._ids, readers, strict=True):
            state = await runs.state(run_id)
            assert state is not None
            is_whole = state.status == "finished"
            self._found.ends.append(state.status if is_whole else f"{self._gateways.kind}: {state}")
            items = [json.loads(line) for line in reader.lines][:-1]
            numbers = [item["n"] for item in items]
            if is_whole:
                assert numbers == [*range(self._counts[run_id])], (run_id, numbers)


async def play(size: Size) -> Found:
    """The whole campaign, with servers of its own."""
    found = Found()
    with contextlib.ExitStack() as stack:
        kinds = [kind for kind, _ in zip(cycle(KINDS), range(size.servers), strict=False)]
        worlds = [World(stack.enter_context(served(kind)), size, found) for kind in kinds]
        async with asyncio.TaskGroup() as group:
            for world in worlds:
                group.create_task(world.play(size.outages // size.servers))
    return found


def broken(found: Found, size: Size) -> list[str]:
    """The promises that were not kept, beside those that end the campaign at once."""
    ends = ["finished"] * (size.servers * size.runs)
    kept = {
        f"{size.outages} outages were to be played, not {found.outages}": (
            found.outages == size.outages
        ),
        f"all runs were to finish, and ended {found.ends}": found.ends == ends,
        "somebody was to look at the runs": found.looks >= size.servers * size.runs,
    }
    return [promise for promise, is_kept in kept.items() if not is_kept]
