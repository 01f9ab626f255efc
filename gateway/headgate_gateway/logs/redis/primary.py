"""A gateway's pipelines to a Redis server that takes writes, and probes of whether it serves."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.logs.redis.connection import Refusal, Unreachable, pack
from headgate_gateway.logs.redis.pipeline import Pipeline
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.logs.redis.connection import Packed, Reply
    from headgate_gateway.logs.redis.connector import Address, RedisConnector
    from headgate_gateway.logs.redis.pipeline import Answer

ANSWER_S = 3.0  # the longest that a pipeline may take: one waits for the disk of the server
PROBE_S = 1.0  # between two probes of a server that is well
PROBE_AGAIN_S = 0.2  # and of one that is down: it is used again soon after it is back
REPLICAS_S = 1.0  # the longest wait for replicas
NOT_YET = "not connected yet"
WRITES_WAIT = (
    "reads go on; appends, removals, deadlines, subscriptions and heartbeats of gateways wait"
)


class Probes(NamedTuple):
    """The calls that show whether a server takes writes, and whether it serves reads without."""

    writes: Packed
    reads: Packed


class Primary(Background):
    """A server with a pipeline for appends and one for reads, so that neither waits for the other.

    `history` is the server's history (see headgate.lua), `why_unhealthy` why the server takes no
    appends, if it does not; it serves reads all the same if it `is_read_only`. The first history of
    a server that `is_new` counts as a changed one.
    """

    def __init__(
        self,
        connector: RedisConnector,
        address: Address,
        probes: Probes,
        on_moved: Callable[[], None],
        on_history_change: Callable[[Primary], None],
        *,
        is_new: bool,
    ) -> None:
        """Call `on_moved` when another server may have taken over from this one."""
        self._connector = connector
        self._address = address
        self._probes = probes
        self._on_moved = on_moved
        self._on_history_change = on_history_change
        self._wait_replicas = wait_replicas = connector.settings.wait_replicas
        epilogue = pack("WAIT", wait_replicas, int(REPLICAS_S * 1000)) if wait_replicas else None
        timeout_s = ANSWER_S + REPLICAS_S * bool(wait_replicas)
        connect = partial(connector.connect, address)
        self.commits = Pipeline(connect, self._on_lost, timeout_s, epilogue)
        self.reads = Pipeline(connect, self._on_lost, ANSWER_S)
        self.why_unhealthy: str | None = NOT_YET
        self.is_read_only = False
        self.history = 0
        self._is_new = is_new
        self._is_in_doubt = False
        self._ended_count = 0  # times that we ended the connections
        self._is_closed = False
        self._probe_now = asyncio.Event()

    @property
    def _is_outage_logged(self) -> bool:
        return self.why_unhealthy not in {None, NOT_YET}

    @property
    def is_down(self) -> bool:
        """True if no pipeline to the server is open, and its failure was logged."""
        return self._is_outage_logged and not (self.commits.is_open or self.reads.is_open)

    @property
    def name(self) -> str:
        """The server, as operators know it."""
        host, port = self._address
        return f"{host}:{port}" if host else str(self._connector.origin)

    async def open(self) -> None:
        """Probe the server, and go on probing it; return also when it cannot be reached."""
        await self._probe()
        if not self._is_closed:
            self.start()

    async def close(self) -> None:
        """End the pipelines."""
        self._is_closed = True
        await self.stop()
        await self.commits.close()
        await self.reads.close()

    def _on_lost(self, gave_up: str) -> None:
        if gave_up:
            self._unhealthy(gave_up)  # so that the next calls do not wait as well
        self._cut()

    def probe_soon(self) -> None:
        """Probe the server now: something has failed."""
        self._probe_now.set()

    def reconnect(self) -> None:
        """Connect both pipelines anew, to the server that takes writes then."""
        self._ended_count += 1
        self._cut()

    def leave(self) -> None:
        """Leave this server, which may be frozen: the sentinels have named another primary."""
        log.info("log.switched", server=self.name)
        self.reconnect()
        self.probe_soon()

    def _cut(self) -> None:
        self.commits.cut()
        self.reads.cut()

    @override
    async def _run(self) -> None:
        while True:
            wait = PROBE_S if self.why_unhealthy is None else PROBE_AGAIN_S
            try:
                async with asyncio.timeout(wait):
                    await self._probe_now.wait()
                await asyncio.sleep(PROBE_AGAIN_S)
            except TimeoutError:
                pass
            self._probe_now.clear()
            try:
                await self._probe()
            except Exception as error:  # noqa: BLE001 - the probes must go on after any error
                self._unhealthy(f"it answers what cannot be understood: {error!r}")

    async def execute(self, *calls: Packed) -> list[Reply]:
        """Return this server's replies, refusals included. Raises Unreachable."""
        return (await self.reads.ask(calls))[0]

    async def _probe(self) -> None:
        ended_count = self._ended_count
        try:
            answer = await self.commits.ask([self._probes.writes])
        except Unreachable as failure:
            if failure.was_sent and self._ended_count > ended_count:
                self.probe_soon()  # we ended the connection: that tells nothing of the server
                return
            self._on_moved()  # it may be that another server has taken over
            self._unhealthy(failure.why)
        else:
            await self._examine(answer)
        finally:
            self._is_in_doubt = False

    async def _examine(self, answer: Answer) -> None:
        (reply,), replicas = answer
        if isinstance(reply, Refusal) and reply.lacks_functions:
            self.reconnect()  # with the next connection the functions are loaded again
            self.probe_soon()
        elif isinstance(reply, Refusal) and reply.takes_no_writes:
            await self._examine_reads(reply)
        elif isinstance(reply, Refusal):
            if reply.code in {"READONLY", "ERR"}:
                self.reconnect()
            self._unhealthy(reply.meaning, is_read_only=reply.code == "OOM")
        elif isinstance(replicas, Refusal):  # of WAIT
            self._unhealthy(replicas.meaning)
        elif isinstance(replicas, int) and replicas < self._wait_replicas:
            self._unhealthy(
                f"{replicas} of {self._wait_replicas} replicas (wait_replicas) answer",
                is_read_only=True,
            )
        else:
            self._healthy(int(reply))

    async def _examine_reads(self, refusal: Refusal) -> None:
        """Find out whether a server that takes no writes serves reads."""
        try:
            (reply,) = await self.execute(self._probes.reads)
        except Unreachable as failure:
            self._unhealthy(failure.why)
            return
        if isinstance(reply, Refusal):
            self.reconnect()
            self._unhealthy(f"{refusal.meaning}; {reply.meaning}")
            return
        if self.history and int(reply[0]) != self.history:
            # What follows from another history is written, and so waits until writes are taken.
            self.history, self._is_new = 0, True
        self._unhealthy(f"{refusal.meaning}; {WRITES_WAIT}", is_read_only=True)

    def compare(self, history: int) -> None:
        """Probe the server when a reply has another history than the last probe had.

        After a failover one pipeline may have come to the old primary and one to the new.
        """
        if self.history and history != self.history and not self._is_in_doubt:
            self._is_in_doubt = True  # once: the probe must not be cut off, too
            self.reconnect()
            self.probe_soon()

    def _unhealthy(self, why: str, *, is_read_only: bool = False) -> None:
        if not self._is_outage_logged:
            log.error("log.failed", server=self.name, reason=why)
        self.why_unhealthy = why
        self.is_read_only = is_read_only

    def _healthy(self, history: int) -> None:
        """Take the history in a reply of the server, and report a change of it."""
        if self._is_outage_logged:
            log.info("log.recovered", server=self.name)
        self.why_unhealthy = None
        self.is_read_only = False
        if history == self.history:
            return
        is_other = bool(self.history) or self._is_new
        self.history = history
        if is_other:
            log.warning("log.history_changed", server=self.name, history=history)
            self._on_history_change(self)
