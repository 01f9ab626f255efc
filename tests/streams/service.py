"""The operations on streams, put together on a log and a manual clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.errors import HeadgateError
from headgate_gateway.protocol.requests import Append, CreateRequest, ForkRequest
from headgate_gateway.protocol.streams.limits import EVERYTHING, Retention
from headgate_gateway.protocol.streams.offsets import Offset
from headgate_gateway.protocol.streams.state import Lifetime, Stamp
from headgate_gateway.runtime.limits import Bounds, ServerLimits
from headgate_gateway.store import Caches
from headgate_gateway.streams.clock import StreamClock
from headgate_gateway.streams.lifecycle import Lifecycle, Sweeper
from headgate_gateway.streams.outcomes import submitted
from headgate_gateway.streams.stream_table import StreamTable
from headgate_gateway.streams.writes import WriteQueue
from tests.streams.shared_log import SharedLog
from tests.support.gated_log import GatedLog
from tests.support.manual_clock import PAST, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.lifecycle import CreationOutcome
    from headgate_gateway.protocol.streams.state import StreamState

TEXT = "text/plain"
NONE = Lifetime()
PENDING = 1 << 20


def limits_of(max_pending_bytes: int) -> ServerLimits:
    """Return the limits of a process in which so many bytes may wait."""
    return ServerLimits(Bounds(0, 0, 0, 0, max_pending_bytes, max_pending_bytes))


class NotedCaches(Caches):
    """Caches that note what they were told: whose streams, and whether all of each."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[tuple[int, bool]] = []
        self.cleared = 0

    @override
    def changed(self, stream_id: int, *, whole: bool) -> None:
        self.dropped.append((stream_id, whole))

    @override
    def clear(self) -> None:
        self.cleared += 1


class Service:
    """One process' view of a log. Several may share one."""

    def __init__(
        self,
        log: Log | None = None,
        clock: ManualClock | None = None,
        *,
        max_active: int = 1000,
        max_pending_bytes: int = PENDING,
        retention: Retention = EVERYTHING,
        running: Callable[[], float] | None = None,
    ) -> None:
        """Use a clock that nobody sets, unless another one measures the time of `running`."""
        self.log = log if log is not None else GatedLog()
        self.clock = clock or ManualClock(PAST)
        self.caches = NotedCaches()
        self.steady = StreamClock(
            self.clock, running or self.clock, follows_wall=self.log.sharing is not None
        )
        self.table = StreamTable(self.log, self.steady, self.caches, max_active)
        self.lifecycle = Lifecycle(self.table, retention)
        self.writes = WriteQueue(self.table, self.lifecycle, limits_of(max_pending_bytes))
        self.sweeper = Sweeper(self.table, self.lifecycle)

    async def create(
        self,
        path: str,
        body: bytes = b"",
        *,
        lifetime: Lifetime = NONE,
        content_type: str | None = TEXT,
        close: bool = False,
    ) -> CreationOutcome:
        return await self.writes.create(
            path, CreateRequest(body, content_type, lifetime, close, None)
        )

    async def fork(
        self,
        path: str,
        source: str,
        body: bytes = b"",
        *,
        position: int | None = None,
        sub_offset: int = 0,
        lifetime: Lifetime = NONE,
    ) -> CreationOutcome:
        at = None if position is None else Offset(await self.generation(source), position)
        asked = ForkRequest(f"/{source}", at, sub_offset)
        return await self.writes.create(
            path, CreateRequest(body, None, lifetime, False, asked), source
        )

    async def generation(self, path: str) -> int:
        state = (await self.table.load(path)).state
        return 0 if state is None else state.generation

    def submit(
        self,
        path: str,
        body: bytes,
        *,
        producer: Stamp | None = None,
        stream_seq: str | None = None,
        close: bool = False,
        content_type: str | None = TEXT,
        is_multi: bool = False,
    ) -> asyncio.Future[AppendOutcome | HeadgateError]:
        done: asyncio.Future[AppendOutcome | HeadgateError] = (
            asyncio.get_running_loop().create_future()
        )
        append = Append(body, content_type, stream_seq, producer, close, is_multi)
        self.writes.submit(path, submitted(append, done.set_result))
        return done

    async def append(
        self, path: str, body: bytes, *, producer: Stamp | None = None, close: bool = False
    ) -> AppendOutcome:
        outcome = await self.submit(path, body, producer=producer, close=close)
        if isinstance(outcome, HeadgateError):
            raise outcome
        return outcome

    async def present(self, path: str) -> StreamState:
        """The stream as a client that reads it sees it; its countdown restarts."""
        active = await self.table.load(path)
        state = self.table.present(active)
        self.table.deadlines.touch(active)
        return state

    async def data(self, path: str) -> bytes:
        active = await self.table.load(path)
        state = self.table.present(active)
        if not state.tail:
            return b""
        return b"".join((await self.log.read(state, 0, state.tail)).records)


async def gated(body: bytes = b"", *, max_pending_bytes: int = PENDING) -> tuple[Service, GatedLog]:
    """Return a process on a log of its own that has the stream `s`, and that log."""
    log = GatedLog()
    service = Service(log, max_pending_bytes=max_pending_bytes)
    await service.create("s", body)
    return service, log


def two(*, apart: bool = False) -> tuple[Service, SharedLog, Service]:
    """A process with its view of a log, and another process."""
    log = SharedLog()
    service = Service(log)
    other = SharedLog(log)
    log.apart = other.apart = apart
    return service, log, Service(other, service.clock)
