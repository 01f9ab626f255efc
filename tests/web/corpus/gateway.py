"""The gateway of one play: it listens as in production, before an origin that plays scripts."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.settings import Route
from headgate_gateway.telemetry.spans import Tracer
from headgate_gateway.web.connections.listener import ConnectionListener
from headgate_gateway.web.metrics import snapshot
from tests.edge.both_ways import trust
from tests.support.guarded_gateway import tokens_file
from tests.support.live_origin import LiveOrigin
from tests.support.origin_connections import idle_count
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, Options, Serving, get
from tests.web.corpus.exchange import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

    from headgate_gateway.telemetry.metrics import Metric
    from tests.support.raw_origin import Play, Wire
    from tests.web.corpus.exchange import Stage

    Figures = dict[tuple[Metric, tuple[str, ...]], float]

END_OF_HEAD = b"\r\n\r\n"
TURNS = 12  # of the loop: what was written on one end has been read on the other by then


async def turns() -> None:
    """Let whatever was sent arrive."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class CorpusGateway(Serving):
    """A gateway whose connections come in by the listener that serves in production."""

    listener: ConnectionListener
    origin: RawOrigin | None = None
    origin_bodies: list[bytes]
    gate: asyncio.Semaphore  # which the origin's held replies wait for

    async def start(self) -> None:
        """Open the log and the origin, and listen."""
        self.origin_bodies, self.gate = [], asyncio.Semaphore(0)
        await self.log.open()
        for edge in self.edges:
            await edge.open()
        self.listener = ConnectionListener(self.server)
        self.port = free_port()
        await self.listener.open("127.0.0.1", self.port)

    async def stop(self) -> None:
        """Let the clients go, then everything else."""
        self.listener.close()
        await super().stop()

    def origin_plays(self, *replies: bytes | Reply) -> None:
        """Let the origin answer the next requests so, all after them by the last reply."""
        assert self.origin is not None, "no origin on this stage"
        self.origin.scripts = [self._noted(reply) for reply in replies]

    def _noted(self, reply: bytes | Reply) -> Play:
        said = Reply((reply,)) if isinstance(reply, bytes) else reply

        async def play(wire: Wire) -> None:
            at = len(self.origin_bodies)
            self.origin_bodies.append(b"")
            with contextlib.suppress(OSError, EOFError):
                self.origin_bodies[at] = await wire.body()
                await self._reply(wire, said)

        return play

    async def _reply(self, wire: Wire, reply: Reply) -> None:
        for packet in reply.packets:
            if reply.is_held:
                await self.gate.acquire()
            head = packet.partition(END_OF_HEAD)[0] + END_OF_HEAD
            await wire.send(head if wire.heard.method == "HEAD" else packet)
        if reply.end:
            await turns()  # or the gateway might read the end with what comes before it, or not
        if reply.end == "close":
            await wire.close()
        elif reply.end == "reset":
            await wire.reset()
        elif not reply.packets:
            await wire.rest()

    def trust_the_origin(self) -> None:
        """Let no connection rest or end because the origin might send more than it should."""
        for edge in self.edges:
            trust(edge.origin)

    def is_settled(self) -> bool:
        """Whether nothing is under way at the origin."""
        if not self.edges or self.origin is None or isinstance(self.origin, LiveOrigin):
            return True
        fetches = self.edge.cache.fetches
        if fetches.under_way or self.edge.origin.requests.count:
            return False
        return self.origin.open == idle_count(self.edge.origin)

    async def keep_a_connection(self, *lines: str) -> None:
        """Have a connection to the origin at hand: some ways of asking it make none."""
        self.origin_plays(answer(b"", "Cache-Control: no-store"))
        self.trust_the_origin()
        warm = await self.ask(get(f"{EDGE}/warm", "Cache-Control: no-store", *lines))
        assert warm.status == 200, warm

    def figures(self) -> Figures:
        """Return what is counted, by its metric and labels; of a histogram how often."""
        return {
            (sample.metric, sample.values): sample.number
            if sample.distribution is None
            else sum(sample.distribution.counts)
            for sample in (*snapshot(self.services, self.routes), *self.authorities.samples())
        }


class SpanNames(Tracer):
    """Makes spans as ever, and exports none: those that ended are in `ended`."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []
        self._provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
        self._provider.add_span_processor(_Kept(self.ended))
        self._tracer = self._provider.get_tracer("headgate")


class _Kept(SpanProcessor):
    def __init__(self, ended: list[ReadableSpan]) -> None:
        self._ended = ended

    def on_end(self, span: ReadableSpan) -> None:
        self._ended.append(span)


@contextlib.asynccontextmanager
async def staged(
    stage: Stage, *, is_logged: bool, tracer: Tracer | None
) -> AsyncIterator[CorpusGateway]:
    """Return the gateway of a play, which is stopped when the block ends."""
    level = "info" if is_logged else "off"
    options: dict[str, object] = {"log_requests": level, "tracer": tracer, **stage.options}
    async with contextlib.AsyncExitStack() as stack:
        if stage.is_guarded:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-corpus"))
            options["tokens_file"] = str(tokens_file(Path(folder)))
            options.setdefault("own", {"auth": "tokens"})
        edge = origin = None
        if stage.route is not None:
            where: dict[str, object] = {"prefix": EDGE, **stage.route}
            if "origin" not in where:
                made = LiveOrigin(*stage.pieces) if stage.pieces else RawOrigin(b"")
                origin = await stack.enter_async_context(made)
                where["origin"] = f"http://127.0.0.1:{origin.port}"
            edge = Route(**where)
        gateway = CorpusGateway(Options(**options), MemoryLog(), edge)  # type: ignore[arg-type] # checked there
        gateway.origin = origin
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        if origin is not None and not stage.pieces:
            await gateway.keep_a_connection(*stage.admitted_as)
        yield gateway
