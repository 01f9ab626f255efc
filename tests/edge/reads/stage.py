"""A cache before a scripted origin, with the connections between them real."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from multidict import CIMultiDict

from headgate_gateway.edge.reads.decision import select
from headgate_gateway.edge.reads.http_cache import CacheResult, HttpCache
from headgate_gateway.edge.reads.shared_response import StreamKnowledge
from headgate_gateway.origin.client import Origin, SentRequest
from headgate_gateway.origin.requests import OriginRequest, field_block
from headgate_gateway.origin.servers import OriginSettings
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.http.forwarding import CONDITIONS, IdentityHeaders
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules.cached_response import CacheRequest
from headgate_gateway.rules.directives import normalised
from headgate_gateway.rules.edge_target import parse_edge_target
from headgate_gateway.rules.response_rules import ResponseRules
from headgate_gateway.rules.served_lifetimes import EVERYBODY
from headgate_gateway.store import CacheEntry, Store
from headgate_gateway.telemetry.traffic import Traffic
from tests.support.cache_status import said
from tests.support.manual_clock import ManualClock
from tests.support.raw_origin import RawOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headgate_gateway.edge.reads.variants import Variant
    from headgate_gateway.origin.answer import AnswerReceiver
    from tests.support.raw_origin import Play

PATH = "/v1/stream/s"
IDENTITY = IdentityHeaders()
SETTINGS = OriginSettings(urls=(), prefix="/v1/stream", health_interval=0.05)


class Told(NamedTuple):
    """An answer as its reader has it."""

    status: int
    body: bytes
    x_cache: str
    hits: int
    age: int
    status_field: dict[str, object]


class Stage:
    """`get` is what a reader does."""

    def __init__(self, origin: Origin, rules: ResponseRules, store_bytes: int) -> None:
        self.origin = origin
        self.cached = ExitStack()
        self.clock = ManualClock()
        self.store: Store[CacheEntry] = Store(store_bytes)
        self.tails: set[tuple[str, str]] = set()
        self.traffic = Traffic()
        self.cache = HttpCache(
            self.store,
            rules,
            self._send,
            self.clock,
            StreamKnowledge(
                lambda path: self.cache.forget(path),
                is_tail=lambda _, read, end: (read.path, end) in self.tails,
            ),
            self.traffic,
            lambda *_: EVERYBODY,
        )

    def _send(
        self, ask: CacheRequest, validators: Sequence[tuple[str, str]], receiver: AnswerReceiver
    ) -> SentRequest:
        fields = ask.fields.copy()
        fields.extend(validators)
        request = OriginRequest("GET", ask.target, field_block(fields))
        return self.origin.start(request, receiver)

    def request(
        self, query: str = "", *fields: tuple[str, str], lifetime: Lifetime | None = None
    ) -> CacheRequest:
        headers = CIMultiDict([("Host", "headgate.test"), *fields])
        read = parse_edge_target(f"{PATH}?{query}" if query else PATH, ())
        assert isinstance(read, CatchUp)
        identity = repr([(name, headers[name]) for name in IDENTITY.identifying_names(headers)])
        coding = normalised("accept-encoding", headers) if "Accept-Encoding" in headers else ""
        sent = CIMultiDict(
            (name, value)
            for name, value in fields
            if name.lower() not in CONDITIONS | {"accept-encoding"}
        )
        sent["Accept-Encoding"] = coding or "identity"
        return CacheRequest(
            "headgate.test",
            read,
            headers,
            sent,
            "" if identity == "[]" else identity,
            coding,
            lifetime or Lifetime(),
        )

    def find(self, query: str = "", *fields: tuple[str, str]) -> Variant | None:
        """The cached response that fits a reader's request, fresh or not."""
        request = self.request(query, *fields)
        return select(self.cache.responses.variants(request), request.headers)

    async def given(self, query: str = "", *fields: tuple[str, str]) -> CacheResult:
        return await self.answer(self.request(query, *fields))

    async def answer(self, ask: CacheRequest) -> CacheResult:
        """The same for a request that is made already. Its reader holds it until all is over."""
        now = self.clock()
        decided = self.cache.decide("GET", ask, None, now)
        return await self.cache.carry_out(decided, ask, now, lambda: self.cached)

    async def get(self, query: str = "", *fields: tuple[str, str]) -> Told:
        return await told(await self.given(query, *fields))


async def told(given: CacheResult) -> Told:
    body = given.cached.body
    if given.source is not None:
        body = b"".join([part async for part in given.source.parts()])
        given.source.release()
    lines = dict(line.split(": ", 1) for line in given.cache.lines.decode().split("\r\n")[:-1])
    return Told(
        given.cached.status,
        body,
        lines["X-Cache"],
        int(lines["X-Cache-Hits"]),
        int(lines["Age"]),
        said([lines["Cache-Status"]]),
    )


@asynccontextmanager
async def staged(
    raw: RawOrigin,
    *,
    stale_if_error: int = 0,
    store_bytes: int = 64 << 20,
    **settings: object,
) -> AsyncIterator[Stage]:
    origin = Origin(msgspec.structs.replace(SETTINGS, urls=(raw.url,), **settings))
    rules = ResponseRules(
        freshness=Freshness(60, 300, 10),
        stale_if_error=stale_if_error,
        via="1.1 test",
        identity=IDENTITY,
        located=origin.servers.location,
    )
    await origin.open()
    stage = Stage(origin, rules, store_bytes)
    try:
        yield stage
    finally:
        stage.cached.close()
        await stage.cache.close()
        await origin.close()


@asynccontextmanager
async def cache_before(
    *scripts: bytes | Play, **options: object
) -> AsyncIterator[tuple[RawOrigin, Stage]]:
    async with RawOrigin(*scripts) as raw, staged(raw, **options) as stage:  # type: ignore[arg-type] # as it takes
        yield raw, stage
