"""The shared cache in front of an origin: looks up, collapses, stores and drops responses."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.edge.reads import decision
from headgate_gateway.edge.reads.fetches import Fetch, Fetches
from headgate_gateway.edge.reads.shared_response import (
    BEFORE_ALL,
    CONFIRMED,
    SERVED_STALE,
    FetchReader,
)
from headgate_gateway.edge.reads.variants import (
    NO_NAMES,
    CachedVariants,
    HitForPass,
    Variant,
    key_of,
    varies_of,
)
from headgate_gateway.errors import NotCached, OriginBehind, OriginBroken, StreamGone
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.cache_status import CacheUse
from headgate_gateway.rules import policy
from headgate_gateway.rules.cached_response import CachedResponse
from headgate_gateway.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from headgate_gateway.edge.reads.decision import Decision, Followed
    from headgate_gateway.edge.reads.fetches import Send
    from headgate_gateway.edge.reads.shared_response import StreamKnowledge
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.protocol.streams.offsets import TailBound
    from headgate_gateway.rules.cached_response import CacheRequest
    from headgate_gateway.rules.response_rules import ResponseRules
    from headgate_gateway.rules.served_lifetimes import Recipient
    from headgate_gateway.store import CacheEntry, Store
    from headgate_gateway.telemetry.traffic import Traffic

TOGETHER_S = 0.05  # an answer that is whole by then goes out as one, else its parts as they come
JOINED_S = 1.0  # as TOGETHER_S, for those who join: a crowd costs less with one write for each
REFRESH_PAUSE_S = 1.0  # an origin that failed to refresh a copy is not asked for it again at once


class CacheResult(msgspec.Struct, frozen=True):
    """The response to a request, whether the origin just sent it, and what to say of it.

    `source` has the body while it is not whole yet, for as long as the client reads it.
    `tail_is_known` if it may say that it reached the stream's tail. `number` is the
    number of the fetch that brought it.
    """

    cached: CachedResponse
    cache: CacheUse
    current: bool
    tail_is_known: bool
    source: FetchReader | None = None
    number: int = BEFORE_ALL

    @property
    def tells_of_unknown_tail(self) -> bool:
        """True if the response may say that it reached the tail where that is not known.

        Its tag says the same, or else a 304 would confirm what is not known. An empty copy has to
        say so, or readers would ask again and get the same; what is new from the origin need not.
        """
        facts = self.cached.facts
        return self.number == BEFORE_ALL and facts is not None and facts.is_empty


class Begun(NamedTuple):
    """A request's reader in the fetch that it has joined or begun."""

    fetch: Fetch
    reader: FetchReader
    is_collapsed: bool


def begin(
    fetches: Fetches,
    key: Hashable,
    request: CacheRequest,
    old: Variant | None = None,
    *,
    joins: bool = True,
    is_joinable: bool = True,
) -> Begun:
    """Join the fetch of an equal request if it `joins` one, or begin one that may be shared."""
    fetch = fetches.joinable.get(key) if joins else None
    if fetch is not None:
        fetches.collapsed += 1
        return Begun(fetch, fetch.join(), is_collapsed=True)
    fetch, reader = Fetch(key, request, old, fetches), FetchReader()
    fetch.readers.add(reader)
    try:
        fetches.start(fetch, is_joinable=is_joinable)
    except BaseException:
        fetch.leave(reader)
        raise
    return Begun(fetch, reader, is_collapsed=False)


class HttpCache:
    """The cache of a route."""

    def __init__(  # noqa: PLR0913 - what a cache is made of
        self,
        store: Store[CacheEntry],
        rules: ResponseRules,
        send: Send,
        clock: Callable[[], float],
        known: StreamKnowledge,
        traffic: Traffic,
        recipient_of: Callable[[str, str | None], Recipient],
    ) -> None:
        self._known = known
        self.responses = CachedVariants(store, clock, traffic, known.is_tail, recipient_of)
        self._clock = clock
        self.fetches = Fetches(rules, send, clock, known, self._on_settled, traffic.collapsed)
        self._hit_for_pass = HitForPass(clock)

    def is_hit_for_pass(self, request: CacheRequest) -> bool:
        """Return whether the response is known not to be cacheable."""
        return request.fetch_key in self._hit_for_pass

    def is_being_fetched(self, request: CacheRequest) -> bool:
        """Return whether an equal request is under way that others may join."""
        key = key_of(request, varies_of(self.responses.variants(request, only_looks=True)))
        return not self.is_hit_for_pass(request) and key in self.fetches.joinable

    def decide(
        self,
        method: str,
        request: CacheRequest,
        stream: Followed | None,
        now: float,
        *,
        only_looks: bool = False,
    ) -> Decision:
        """Return what answers a GET or HEAD, whose stream may be followed.

        With `only_looks`, no entry is marked as used.
        """
        variants = self.responses.variants(request, only_looks=only_looks)
        is_hit_for_pass = bool(self._hit_for_pass.until) and self.is_hit_for_pass(request)
        return decision.decide(
            method,
            request,
            variants,
            stream,
            now,
            is_hit_for_pass=is_hit_for_pass,
            # Without a copy or a followed stream there is nothing to serve instead.
            is_down=bool(variants or stream) and self._known.is_down(),
        )

    async def carry_out(
        self,
        decided: Decision,
        request: CacheRequest,
        now: float,
        resources: Callable[[], ExitStack],
        begun: Begun | None = None,
    ) -> CacheResult:
        """Return the response that was decided on. Raises NotCached, and the origin's failures.

        A request for the origin joins an equal fetch, or starts one, unless it has `begun` with
        that. Readers that wait when a body begins read it as it arrives, until their client's
        `resources` are closed; others get it whole, or request one too long for that again.

        The fields of Vary are known only when the head of a response has come. Requests that it
        does not match join again, each with others for the same variant.
        """
        if decided.use not in decision.NEEDS_ORIGIN:
            return self._at_hand(decided, request, now)
        old = decided.variant
        varies, joins = varies_of(decided.variants) if decided.variants else NO_NAMES, True
        while True:
            if begun is None:
                key = key_of(request, varies) if varies else request.fetch_key
                is_joinable = joins and not decided.is_hit_for_pass
                begun = begin(self.fetches, key, request, old, joins=joins, is_joinable=is_joinable)
            (fetch, reader, is_collapsed), begun = begun, None
            try:
                cached = await fetch.response
                if not is_collapsed or is_for(fetch, request, cached):
                    if fetch.whole is None:
                        together_s = JOINED_S if is_collapsed else TOGETHER_S
                        await fetch.settled_within(None if reader.body is None else together_s)
                    if fetch.whole is not None or reader.body is not None:
                        return self.result_of(
                            fetch, reader, old, resources, is_collapsed=is_collapsed
                        )
            finally:
                if not reader.is_held:
                    fetch.leave(reader)
            # It may have been dropped meanwhile.
            old = decision.select(self.responses.variants(request), request.headers)
            more = varies | {name for name, _ in cached.stored.vary}
            joins = fetch.is_joinable and more != varies
            varies = more if joins else varies

    def _at_hand(self, decided: Decision, request: CacheRequest, now: float) -> CacheResult:
        """Return the response of a decision that does not wait for the origin."""
        variant, recent = decided.variant, decided.recent
        if recent is not None:
            self._refresh(request, variant, decided.rests_until, now)
            return _recent(recent, now)
        if decided.use is decision.REFUSE or variant is None:
            raise NotCached("only-if-cached: there is no answer here that is fresh")
        if decided.use is decision.HIT:
            return self._hit(variant, "HIT", now)
        self._refresh(request, variant, variant.rests_until, now)
        return self._hit(variant, "STALE", now)

    def _hit(self, variant: Variant, result: str, now: float) -> CacheResult:
        """Return a cached response as a hit, and count it."""
        variant.entry.hits += 1
        stored = variant.stored
        ttl = int(stored.fresh_until - now)
        use = cache_status.cache_use(
            result, f"hit; ttl={ttl}", age=stored.age(now), hits=variant.entry.hits
        )
        knows_tail = stored.is_fresh(now) or variant.knows_tail
        return CacheResult(variant.cached, use, current=False, tail_is_known=knows_tail)

    # Fetching

    def _refresh(
        self, request: CacheRequest, old: Variant | None, rests_until: float, now: float
    ) -> None:
        """Start a fetch, unless one is in flight, or has failed a moment ago."""
        key = key_of(request, varies_of(self.responses.variants(request)))
        is_validating = old is not None and old.is_validating
        if is_validating or key in self.fetches.joinable or now < rests_until:
            return
        fetch = Fetch(key, request, old, self.fetches)
        fetch.needs_no_reader = True
        self.fetches.start(fetch, is_joinable=True)

    def result_of(
        self,
        fetch: Fetch,
        reader: FetchReader,
        old: Variant | None,
        resources: Callable[[], ExitStack],
        *,
        is_collapsed: bool,
    ) -> CacheResult:
        """Return the response of a fetch: whole, or its head with the body to read."""
        fetch.served_count += 1
        source, cached = None, fetch.whole
        if cached is None:
            resources().callback(fetch.leave, reader)
            reader.is_held = True
            source, cached = reader, fetch.response.result()
        age = cached.stored.age(self._clock())
        if fetch.how is SERVED_STALE:
            is_old = fetch.old is not None and fetch.old.cached is cached
            validated, hits = fetch.old if is_old else None, 0
            if validated is not None:
                validated.entry.hits += 1
                hits = validated.entry.hits
            reason = "uri-miss" if fetch.old is None else "stale"
            shared = "; collapsed" if is_collapsed else ""
            status = f"fwd={reason}{shared}; detail=stale-if-error"
            use = cache_status.cache_use("STALE", status, age=age, hits=hits)
            knows_tail = validated is not None and validated.knows_tail
            return CacheResult(cached, use, current=False, tail_is_known=knows_tail)
        origin_status = 304 if fetch.how is CONFIRMED else cached.status
        use = cache_status.forwarded(
            origin_status,
            age,
            is_stale=old is not None,
            shared=is_collapsed,
            stored=fetch.is_stored,
        )
        is_current = fetch.passed_by is None or fetch.is_current
        if cached.is_tail and cached.facts is not None:
            key, end = fetch.request.stream_key, cached.facts.next_offset
            is_current = is_current and self._known.is_newest(key, end, fetch.number)
        return CacheResult(cached, use, is_current, is_current, source, fetch.number)

    def _on_settled(self, fetch: Fetch) -> None:
        """Store the response, or remember that it must not be cached."""
        if fetch.error is not None:
            self._note_failure(fetch, fetch.error)
            return
        self._known.note(fetch)
        cached = fetch.response.result() if fetch.whole is None else fetch.whole
        request, old, is_stale = fetch.request, fetch.old, fetch.how is SERVED_STALE
        is_error = cached.status >= 500 and policy.is_error(cached.status)
        if is_error or is_stale:
            _let_rest(old, self._clock())
        if not (fetch.is_joinable and cached.is_storable):
            if not fetch.is_joinable and cached.status < 400:
                self._hit_for_pass.add(request.fetch_key)
            if not is_error:
                self.responses.remove(request.key, old)
        elif not is_stale and fetch.passed_by is None and self._may_store(fetch, cached):
            self._hit_for_pass.until.pop(request.fetch_key, None)
            fetch.is_stored = self.responses.put(request, cached)

    def _may_store(self, fetch: Fetch, cached: CachedResponse) -> bool:
        """Return whether an answer belongs to its request, and shows no old tail.

        If its connection later turns out to have mixed up answers, the cached response is dropped.
        """
        request, answer, facts = fetch.request, fetch.answer, cached.facts
        if answer is not None:
            drop = partial(self._distrust, request.key, request.path)
            if not answer.history.note(request.key, drop):
                return False
        if not cached.is_tail or facts is None:
            return True
        return self._known.is_newest(request.stream_key, facts.next_offset, fetch.number)

    def _note_failure(self, fetch: Fetch, error: HeadgateError) -> None:
        """Drop what a failure shows to be of another stream, or delay the next validation."""
        if isinstance(error, StreamGone | OriginBehind):
            if isinstance(error, OriginBehind):
                self._known.note_end(fetch, error.end)
            # The stream ends before the offset: cached responses that go as far are of another one.
            # An offset that a client made up proves nothing.
            if self.responses.reaches(fetch.request.path, fetch.request.start):
                self._known.forget(fetch.request.path)
        elif not fetch.is_abandoned:
            _let_rest(fetch.old, self._clock())

    async def read(self, request: CacheRequest, limit: int) -> CacheResult:
        """Return a whole, fresh response, for a caller that needs a stream's bytes."""
        now = self._clock()
        decided = self.decide("GET", request, None, now)  # though its stream may be followed
        with ExitStack() as held_by:
            result = await self.carry_out(decided, request, now, lambda: held_by)
            if result.source is None:
                _check_size(len(result.cached.body), limit)
                return result
            body = bytearray()
            async for part in result.source.parts():
                body += part
                _check_size(len(body), limit)
        whole = result.cached.with_body(bytes(body))
        return msgspec.structs.replace(result, cached=whole, source=None)

    def _distrust(self, key: tuple[str, str], path: str) -> None:
        """Drop cached responses made of an answer that may be another request's."""
        self.responses.discard(key)
        self._known.distrust(path)

    def forget(self, path: str) -> None:
        """Drop every cached response of `path`, and outdate fetches under way."""
        self.responses.drop_path(path)
        self.fetches.outdate(path, None)

    def on_growth(self, path: str, reach: TailBound) -> None:
        """Drop cached responses that reached the old tail; earlier chunks stay."""
        self.responses.drop_tail(path)
        self.fetches.outdate(path, reach)

    async def close(self) -> None:
        """Cancel the fetches under way."""
        await self.fetches.close()


def is_for(fetch: Fetch, request: CacheRequest, cached: CachedResponse) -> bool:
    """Return whether a joined request may get the response, whose head has come."""
    if not (fetch.is_joinable and policy.selects(request.headers, cached.stored)):
        return False
    if fetch.context is not None:
        tracing.shares(fetch.context.get(tracing.current))
    return True


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise OriginBroken(f"the origin answers a read with more than {limit} bytes")


def _let_rest(old: Variant | None, now: float) -> None:
    """Send no validation for REFRESH_PAUSE_S, because the origin has failed to validate `old`."""
    if old is not None:
        old.rests_until = now + REFRESH_PAUSE_S


def _recent(cached: CachedResponse, now: float) -> CacheResult:
    """Return the data that live readers were sent, for a client while the origin fails."""
    stored = cached.stored
    status = f"hit; ttl={int(stored.fresh_until - now)}; detail=stale-if-error"
    use = cache_status.cache_use("STALE", status, age=stored.age(now))
    return CacheResult(cached, use, current=False, tail_is_known=False)
