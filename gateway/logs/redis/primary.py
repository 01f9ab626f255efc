"""A Redis server that takes writes: its two pipelines, its health, and the news of a failover."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.background import Background
from gateway.logs.redis.connection import (
    Refusal,
    Unreachable,
    explained,
    lacks_functions,
    pack,
)
from gateway.logs.redis.pipeline import Pipeline
from gateway.logs.redis.subscription import Subscription
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.logs.redis.connection import Packed, RedisConnection, Reply
    from gateway.logs.redis.connector import Address, RedisConnector
    from gateway.logs.redis.pipeline import Answer
    from gateway.logs.redis.redis_servers import RedisServers

ANSWER_S = 3.0  # the longest that a pipeline may take: one waits for the disk of the server
PROBE_S = 1.0  # between two looks at a server that is well
PROBE_AGAIN_S = 0.2  # and at one that is not: it is missed for no longer than it was away
REPLICAS_S = 1.0  # the longest wait for replicas
NOT_YET = "not connected yet"
SWITCHES = b"+switch-master"  # SERVICE, then host and port of the old primary and of the new one
TOGETHER_S = 10.0  # the sentinels tell of one failover one after the other, within seconds


class Primary(Background):
    """A server with a pipeline for appends and one for reads, so that neither waits for the other.

    `history` is the server's history (see headgate.lua), `why_unhealthy` why the server takes no
    appends, if it does not.
    """

    def __init__(self, servers: RedisServers, address: Address, *, is_new: bool) -> None:
        """Tell `servers` when the history is another one than before.

        The first history of a server that `is_new` counts as another one.
        """
        self._servers = servers
        self._address = address
        self._wait_replicas = wait_replicas = servers.connector.settings.wait_replicas
        epilogue = pack("WAIT", wait_replicas, int(REPLICAS_S * 1000)) if wait_replicas else None
        timeout_s = ANSWER_S + REPLICAS_S * bool(wait_replicas)
        self.commits = Pipeline(self._connect, self._lost, timeout_s, epilogue)
        self.reads = Pipeline(self._connect, self._lost, ANSWER_S)
        self.why_unhealthy: str | None = NOT_YET
        self.history = 0
        self._is_new = is_new
        self._is_in_doubt = False
        self._ended_count = 0  # times that we ended the connections
        self._is_closed = False
        self._look = asyncio.Event()
        self._failover_watch = FailoverWatch(servers.connector, self._switched)

    @property
    def _is_outage_logged(self) -> bool:
        return self.why_unhealthy not in {None, NOT_YET}

    @property
    def is_down(self) -> bool:
        """True if no pipeline to the server is open, and its failure was logged."""
        return self._is_outage_logged and not (self.commits.is_open or self.reads.is_open)

    async def _connect(self, redis_connection: RedisConnection) -> None:
        await self._servers.connector.connect(redis_connection, self._address)

    async def open(self) -> None:
        """Look at the server, and go on looking; however it is, this returns."""
        self._failover_watch.open()
        await self._probe()
        if not self._is_closed:
            self.start()

    async def close(self) -> None:
        """End the pipelines."""
        self._is_closed = True
        await self.stop()
        await self._failover_watch.close()
        await self.commits.close()
        await self.reads.close()

    def _lost(self, gave_up: str) -> None:
        if gave_up:
            self._unhealthy(gave_up)  # who comes now need not wait to find that out, too
        self._cut()

    def look(self) -> None:
        """Look at the server now: something has failed."""
        self._look.set()

    def reconnect(self) -> None:
        """Connect anew, both pipelines to whoever takes writes then."""
        self._ended_count += 1
        self._cut()

    def _switched(self) -> None:
        """Leave this server, which may be frozen: the sentinels have named another primary."""
        log.info("log.switched", server=self.name)
        self.reconnect()
        self.look()

    def _cut(self) -> None:
        self.commits.cut()
        self.reads.cut()

    @override
    async def _run(self) -> None:
        while True:
            wait = PROBE_S if self.why_unhealthy is None else PROBE_AGAIN_S
            try:
                async with asyncio.timeout(wait):
                    await self._look.wait()
                await asyncio.sleep(PROBE_AGAIN_S)
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await self._probe()
            except Exception as error:  # noqa: BLE001 - it must outlive whatever it was
                self._unhealthy(f"it answers what cannot be understood: {error!r}")

    async def execute(self, *calls: Packed) -> list[Reply]:
        """Return this server's replies, refusals included. Raises Unreachable."""
        return (await self.reads.ask(calls))[0]

    async def _probe(self) -> None:
        left = self._ended_count
        try:
            answer = await self.commits.ask([self._servers.commands.probe()])
        except Unreachable as failure:
            if failure.was_sent and self._ended_count > left:
                self.look()  # it was us who ended the connection: that tells nothing of the server
                return
            self._servers.moved()  # it may be that another server has taken over
            self._unhealthy(failure.why)
        else:
            self._judge(answer)
        finally:
            self._is_in_doubt = False

    def _judge(self, answer: Answer) -> None:
        (reply,), replicas = answer
        if isinstance(reply, Refusal) and lacks_functions(reply.text):
            self.reconnect()  # with the next connection the functions are loaded again
            self.look()
        elif isinstance(reply, Refusal):
            if reply.code in {"READONLY", "ERR"}:
                self.reconnect()
            self._unhealthy(explained(reply.text))
        elif isinstance(replicas, Refusal):  # of WAIT
            self._unhealthy(explained(replicas.text))
        elif isinstance(replicas, int) and replicas < self._wait_replicas:
            self._unhealthy(f"{replicas} of {self._wait_replicas} replicas (wait_replicas) answer")
        else:
            self._healthy(int(reply))

    def compare(self, history: int) -> None:
        """Look anew when an answer tells of another history than the last look did.

        After a failover one pipeline may have come to the old primary and one to the new.
        """
        if self.history and history != self.history and not self._is_in_doubt:
            self._is_in_doubt = True  # once: the look must not be cut off, too
            self.reconnect()
            self.look()

    def _unhealthy(self, why: str) -> None:
        if not self._is_outage_logged:
            log.error("log.failed", server=self.name, reason=why)
        self.why_unhealthy = why

    def _healthy(self, history: int) -> None:
        """Take the history in a reply of the server, and report a change of it."""
        if self._is_outage_logged:
            log.info("log.recovered", server=self.name)
        self.why_unhealthy = None
        if history == self.history:
            return
        is_other = bool(self.history) or self._is_new
        self.history = history
        if is_other:
            log.warning("log.history_changed", server=self.name, history=history)
            self._servers.history_changed(self)

    @property
    def name(self) -> str:
        """The server, as operators know it."""
        host, port = self._address
        return f"{host}:{port}" if host else str(self._servers.connector.origin)


class FailoverWatch:
    """Connections to all sentinels, each made again when it is lost.

    They tell of failovers: the silence of a frozen primary tells later.
    """

    def __init__(self, connector: RedisConnector, switched: Callable[[], None]) -> None:
        """`switched` is called once for each failover."""
        origin = connector.origin
        self._service = origin.service.encode()
        self._switched = switched
        self._last_message = b""
        self._last_message_at = 0.0  # loop time
        self._subscriptions = [
            Subscription(
                connector,
                partial(connector.connect_sentinel, node=node),
                SWITCHES,
                self._on_message,
                strayed=lambda _: None,  # which channels of a cluster do
            )
            for node in (origin.nodes if origin.kind == "sentinel" else ())
        ]

    def open(self) -> None:
        """Connect to the sentinels, and stay connected."""
        for subscription in self._subscriptions:
            subscription.start()

    async def close(self) -> None:
        """End all connections."""
        for subscription in self._subscriptions:
            await subscription.stop()

    def _on_message(self, _: bytes, message: bytes | None) -> None:
        if message is None or message.partition(b" ")[0] != self._service:
            return
        now = asyncio.get_running_loop().time()
        if message != self._last_message or now >= self._last_message_at + TOGETHER_S:
            self._last_message, self._last_message_at = message, now
            self._switched()
