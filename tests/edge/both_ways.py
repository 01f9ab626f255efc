"""Two gateways before equal origins: one remembers what is alike, the other looks at each anew.

Whatever is asked and answered, clients, origins, counters and caches must see the same of both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop
from typing_extensions import override

from headgate_gateway.origin.heads import AnswerKind
from headgate_gateway.origin.reuse import PROOFS, ConnectionHistory
from tests.support.examples import IS_WHOLE
from tests.support.http1 import Client, ConnectionEnded, read_chunk
from tests.support.log_lines import capture_logs
from tests.support.origin_connections import idle_count
from tests.support.other_worker import writes_told_by
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, Serving, edge_serving, get, passed_appends_of
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from headgate_gateway.origin.client import Origin
    from tests.support.raw_origin import Play

# Of each property that both ways are played in; each is several exchanges with real sockets.
EXAMPLES = 1000 if IS_WHOLE else 8
# What differs between two answers to one request: refusals take turns in when to come again.
OWN = ("date", "x-request-id", "retry-after")


class Told(NamedTuple):
    """What a client was told: an answer, and whether its connection went on."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    is_whole: bool


class Forgetful(dict[Any, Any]):
    """A table that stores nothing."""

    @override
    def __setitem__(self, key: object, value: object) -> None:
        """Forget it."""


class Side:
    """One of the two: an origin, a gateway before it, and what both have seen."""

    def __init__(self, origin: RawOrigin, gateway: Serving, *, remembers: bool) -> None:
        self.origin = origin
        self.gateway = gateway
        self.told_others = writes_told_by(gateway.services)
        if not remembers:
            gateway.edge.cache.fetches.results._patterns = Forgetful()
            appends = passed_appends_of(gateway)
            for owner, method in (
                (gateway.edge.origin.patterns, "note"),
                (gateway.plans, "read"),
                (appends, "plan"),
                (appends, "respond"),
            ):
                setattr(owner, method, lambda *_: None)

    async def keep_a_connection(self, *lines: str) -> None:
        """Have one in the pool. A guard admits who sends these lines."""
        self.origin.scripts = [answer(b"", "Cache-Control: no-store")]
        trust(self.gateway.edge.origin)
        await self.gateway.ask(get(f"{EDGE}/warm", "Cache-Control: no-store", *lines))
        assert (await self.gateway.ask(get(f"{EDGE}/warm", *lines))).status == 200

    async def ask(self, client: Client, wire: bytes, script: Callable[[str], Play]) -> Told:
        """Send a request, to which the origin answers so; `script` is told the origin's URL."""
        self.origin.scripts = [script(self.origin.url)]
        trust(self.gateway.edge.origin)
        client.send(wire)
        told = await _told(client)
        # Whether a connection that has just been closed is used again is a matter of luck.
        await until(self._is_settled)
        return told

    def _is_settled(self) -> bool:
        """Whether all connections to the origin that are there may be used again.

        A copy may be renewed when its reader has been answered.
        """
        origin, fetches = self.gateway.edge.origin, self.gateway.edge.cache.fetches
        if fetches.under_way:
            return False
        return self.origin.open == idle_count(origin) and not origin.requests.count

    def heard(self, since: int = 0) -> list[bytes]:
        """The heads of requests that came to the origin, as if its port were 0.

        Their fields are in the order of their names: those that differ from request to request are
        sent behind the others.
        """
        port = b":%d\r\n" % self.origin.port
        heads = [one.head.replace(port, b":0\r\n") for one in self.origin.heard[since:]]
        lines = [head.split(b"\r\n") for head in heads]
        return [b"\r\n".join([line, *sorted(fields)]) for line, *fields in lines]

    def counted(self) -> Counter[str]:
        edge = self.gateway.edge
        traffic, origin = edge.traffic, edge.origin
        unrouted = self.gateway.services.unrouted
        figures: Counter[str] = Counter()
        for name, numbers in (
            ("requests", enumerate(traffic.requests)),
            ("unrouted", enumerate(unrouted.requests)),
            ("timed", ((of, sum(kept.counts)) for of, kept in traffic.durations.items())),
            ("results", enumerate(traffic.results)),
            ("resumes", enumerate(traffic.resumes)),
            ("decisions", enumerate(traffic.decisions)),
            ("refused", self.gateway.limits.refused.items()),
            ("origin", origin.figures.results.items()),
            ("repairs", edge._rules.repairs.items()),
        ):
            figures.update({f"{name} {of}": number for of, number in numbers})
        figures["bytes in"], figures["bytes out"] = traffic.request_bytes, traffic.response_bytes
        figures["origin timed"] = sum(origin.figures.duration.counts)
        return figures

    def state(self) -> dict[str, object]:
        edge = self.gateway.edge
        return {
            "in flight": edge.origin.requests.count,
            "why unhealthy": edge.origin.servers.why_unhealthy(),
            "offers multi-appends": edge.multi_append.is_known,
            "writes": list(self.told_others),
            "kept": len(self.gateway.services.store),
        }


def trust(origin: Origin) -> None:
    """Let no connection rest or be closed because its server might send a surplus.

    Nothing older is dropped either: what else came on the connection depends on the clock.
    """
    for endpoint in origin.pool.by_server.values():
        for connection in endpoint.open:
            connection.history = ConnectionHistory()
        endpoint.silent_rests = dict.fromkeys(AnswerKind, PROOFS)
        endpoint.closes = endpoint.closes_all = False


async def _told(client: Client) -> Told:
    """What comes, also where it is cut short.

    A body that came whole is told as by its length, also where it came in chunks: which of them a
    client is given depends on how much of it was here in time.
    """
    try:
        head = await client.head()
        while head.status == 100:
            head = await client.head()
    except EOFError:
        return Told(0, [], b"", is_whole=False)
    fields = [field for field in head.fields if field[0] not in OWN]
    body, is_whole = b"", True
    try:
        if head.get("transfer-encoding") == "chunked":
            while chunk := await client._read(read_chunk()):
                body += chunk
            at = fields.index(("transfer-encoding", "chunked"))
            fields[at] = ("content-length", str(len(body)))
        elif head.status not in {204, 304}:
            body = (await client.whole(head)).body
    except (EOFError, ConnectionEnded, ConnectionError):
        is_whole = False
    return Told(head.status, fields, body, is_whole)


class Pair(NamedTuple):
    """Both sides; what is said of one is said of the other."""

    knowing: Side
    forgetful: Side

    async def same(self, requests: Sequence[tuple[bytes, Callable[[str], Play]]]) -> list[Told]:
        """Ask both the same on a connection of each; what clients were told."""
        seen = []
        for side in self:
            since, counted = len(side.origin.heard), side.counted()
            side.told_others.clear()
            client = await side.gateway.connect()
            told = []
            with capture_logs() as logged:
                for wire, script in requests:
                    told.append(await side.ask(client, wire, script))
                    if not told[-1].is_whole or client.is_closing:
                        break
                client.close()
                await until(lambda side=side: side.gateway.limits.connections == 0)  # type: ignore[misc]
            counted = side.counted() - counted
            lines = _lines(logged)
            seen.append((told, side.heard(since), dict(counted), side.state(), lines))
        assert seen[0] == seen[1], _unlike(*seen)
        return seen[0][0]


def _lines(logged: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The lines of the access log, but for times and ids."""
    return [
        {name: value for name, value in line.items() if name not in {"duration_us", "request_id"}}
        for line in logged
        if line["event"] == "request"
    ]


def _unlike(one: tuple[object, ...], other: tuple[object, ...]) -> str:
    lines = [""]
    for ours, theirs in zip(one, other, strict=True):
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
            lines += [f"{name}: {ours.get(name)} != {theirs.get(name)}" for name in names]
        elif ours != theirs:
            lines.append(f"{ours!s:.3000}\n  != {theirs!s:.3000}")
    return "\n".join(lines)


@contextlib.contextmanager
def running_pair(
    route: Mapping[str, object], options: Mapping[str, object], *lines: str
) -> Iterator[tuple[asyncio.Runner, Pair]]:
    """The pair of `both_ways`, on a loop as in production, for tests that draw examples."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = contextlib.AsyncExitStack()
        pair = runner.run(stack.enter_async_context(both_ways(route, *lines, **options)))
        try:
            yield runner, pair
        finally:
            runner.run(stack.aclose())


@contextlib.asynccontextmanager
async def both_ways(
    route: Mapping[str, object] | None = None, *lines: str, **options: object
) -> AsyncIterator[Pair]:
    """The pair; `route` and `options` as of `edge_serving`, `lines` of who is admitted."""
    async with contextlib.AsyncExitStack() as stack:
        sides = []
        for remembers in (True, False):
            origin = await stack.enter_async_context(RawOrigin(answer()))
            gateway = await stack.enter_async_context(edge_serving(origin, route, **options))
            sides.append(Side(origin, gateway, remembers=remembers))
        for side in sides:
            await side.keep_a_connection(*lines)
        yield Pair(*sides)
