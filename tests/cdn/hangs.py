"""A gateway that accepts connections and says nothing, with configurations in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import load
from tests.cdn.balanced import asked, created, in_front_of
from tests.cdn.outages import EVENT_SOURCE, TEXT
from tests.support.http1 import Answer, Client, ConnectionEnded, request
from tests.support.processes import headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headgate_gateway.settings import Settings
    from tests.support.processes import Headgate

# Seconds that the pages promise: for the first readers of a gateway that hangs, for later ones, and
# until SSE ends.
FIRST_S, LATER_S, EVENTS_S = 11, 1, 15
STALE_S = 120
"""The --stale-if-error of targets that have copies: longer than all that is measured."""
EXPIRED_S = 2.1  # after a second, as caches count whole ones
EQUAL = 6  # readers of one stream at the same time
OTHERS = 4  # streams with copies that nobody has requested since the gateway hangs
PAUSE_S = 0.25  # between two later readers
LATER_READS_S = 6.0  # in which they come
EVENTS_PATIENCE_S = 20.0


@dataclass
class Hang:
    """What readers and writers of one target saw; times are in seconds."""

    statuses: dict[str, set[int | str]] = field(default_factory=dict)
    """Of each kind of request: an exception where there was no response."""
    first_s: float = 0  # the longest of the first equal readers
    later_s: float = 0  # of those that came when these had their responses, and have a copy
    uncached_s: float = 0  # the same of streams without a copy
    new_events_s: float = 0  # until SSE that begins at the gateway that hangs has ended
    open_events_s: float = 0  # until SSE ended that had begun before; from its last heartbeat on
    back_s: float = 0  # until a read without a copy got its response from the gateway again


@contextlib.contextmanager
def hangable() -> Iterator[tuple[Headgate, Settings]]:
    """Yield a gateway that takes writes again at once after it hung, and its settings."""
    environment = {"HEADGATE_LIMITS__MAX_LOOP_LAG": "0"}  # one that stood still would refuse writes
    with headgate(environment=environment) as gateway:
        yield gateway, load(None, environment, {})


@contextlib.contextmanager
def edges(settings: Settings, upstream: str, names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Yield the ports of these targets, with stale copies where there are copies."""
    with contextlib.ExitStack() as stack:
        ports: dict[str, int] = {}
        for name in names:
            stale_s = 0 if TARGETS[name].no_stale_if_error else STALE_S
            made = in_front_of(settings, upstream, [name], answer_s=None, stale_if_error_s=stale_s)
            ports |= stack.enter_context(made)
        yield ports


async def hang(
    pids: Sequence[int], gateway_port: int, ports: Mapping[str, int], *, is_over: bool = True
) -> dict[str, Hang]:
    """Stop these processes for a while, and return what each target's readers and writers see.

    With `is_over`, these are all gateways: SSE has an end.
    """
    targets = {name: _Target(port, gateway_port) for name, port in ports.items()}
    await asyncio.gather(*(it.begin() for it in targets.values()))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(EXPIRED_S)
        await asyncio.gather(*(it.read_all(is_over=is_over) for it in targets.values()))
        appends = [asyncio.create_task(it.append()) for it in targets.values()]
        await asyncio.sleep(1.0)  # they are at the gateway
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await asyncio.gather(*appends, *(it.until_back() for it in targets.values()))
    return {name: it.found for name, it in targets.items()}


class _Target:
    """Readers and writers of one target."""

    def __init__(self, port: int, gateway_port: int) -> None:
        self.port = port
        self.paths = [created(gateway_port) for _ in range(OTHERS + 1)]
        self.without_copy = [created(gateway_port) for _ in range(OTHERS)]
        self.at_end = created(gateway_port)
        self.found = Hang()

    async def begin(self) -> None:
        """Have copies made, and open SSE."""
        for path in self.paths:
            await self._read("before", path)
        self.begun_at = asyncio.get_running_loop().time()
        self.events = await self._opened()
        await self.events.head()
        await self.events.chunk()

    async def read_all(self, *, is_over: bool) -> None:
        """Read while the gateway hangs."""
        loop, found = asyncio.get_running_loop(), self.found
        events = []
        if is_over:
            new = await self._opened()
            events = [asyncio.create_task(it) for it in (self._ended(), self._answered(new))]
        else:
            self.events.close()
        equal = (self._read("first", self.paths[0]) for _ in range(EQUAL))
        found.first_s = max(await asyncio.gather(*equal))
        later, uncached = [], []
        end = loop.time() + LATER_READS_S
        for path, other in zip(itertools.cycle(self.paths), itertools.cycle(self.without_copy)):
            later.append(asyncio.create_task(self._read("later", path)))
            uncached.append(asyncio.create_task(self._read("uncached", other)))
            if loop.time() > end:
                break
            await asyncio.sleep(PAUSE_S)
        found.later_s = max(await asyncio.gather(*later))
        found.uncached_s = max(await asyncio.gather(*uncached))
        await asyncio.gather(*events)

    async def append(self) -> None:
        """Append, which no copy can answer."""
        self._note("append", await asked(self.port, "POST", self.at_end, b"x", Content_Type=TEXT))

    async def until_back(self) -> None:
        """Wait until a read without a copy gets its response from the gateway."""
        began = asyncio.get_running_loop().time()

        async def is_back() -> bool:
            answer = await asked(self.port, "GET", f"{self.at_end}?offset=-1")
            return isinstance(answer, Answer) and answer.status == 200

        await until(is_back, "a response of the gateway")
        self.found.back_s = asyncio.get_running_loop().time() - began

    def _note(self, kind: str, answer: Answer | Exception) -> None:
        seen = answer.status if isinstance(answer, Answer) else repr(answer)
        self.found.statuses.setdefault(kind, set()).add(seen)

    async def _read(self, kind: str, path: str) -> float:
        began = asyncio.get_running_loop().time()
        self._note(kind, await asked(self.port, "GET", f"{path}?offset=-1"))
        return asyncio.get_running_loop().time() - began

    async def _opened(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port), EVENTS_PATIENCE_S)
        client.send(request("GET", f"{self.paths[0]}?offset=-1&live=sse", None, **EVENT_SOURCE))
        return client

    async def _ended(self) -> None:
        ends = (ConnectionEnded, OSError, asyncio.IncompleteReadError)
        with contextlib.closing(self.events), contextlib.suppress(*ends):
            await self.events.chunks()
        self.found.open_events_s = asyncio.get_running_loop().time() - self.begun_at

    async def _answered(self, client: Client) -> None:
        began = asyncio.get_running_loop().time()
        answer: Answer | Exception
        with contextlib.closing(client):
            try:
                answer = await client.whole(await client.head())
            except (ConnectionEnded, OSError, asyncio.IncompleteReadError) as error:
                answer = error
        self._note("events", answer)
        self.found.new_events_s = asyncio.get_running_loop().time() - began
