"""The shared cache in front of an origin: looks up, collapses, keeps and forgets."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.cache import policy
from gateway.cache.cached_response import Variants
from gateway.cache.directives import normalised
from gateway.cache.fetch import UNUSABLE, How, Landed, SharedFetch
from gateway.errors import NotCached, OriginBehind, OriginBroken, StreamGone
from gateway.protocol import cache_status
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from gateway.cache.cached_response import Ask, CachedResponse
    from gateway.cache.response_rules import ResponseRules
    from gateway.cache.shared_body import SharedBodyReader
    from gateway.cache.store import Kept, Store
    from gateway.origin.client import OriginAnswer

LONGEST_KEPT = 8 << 20  # bytes of an answer that is gathered for others while it comes
TOGETHER_S = 0.05  # an answer that is whole by then goes out as one, else its parts as they come
JOINED_S = 1.0  # the same for one who joins: a crowd costs less when each is written to once
REST_S = 1.0  # an origin that failed to refresh a copy is not asked for it again at once
PASSED_S = 60.0  # for so long what was not to be shared is not waited for
MAX_PASSED = 10_000  # such keys: about 2 MB


class Given(NamedTuple):
    """What a request gets: an answer, whether it is news of the origin, and what to say of it.

    `source` has the body when it is not whole yet, for as long as the asker holds it. A copy
    `is_fresh` while it says what the origin did, also of the stream's tail.
    """

    held: CachedResponse
    cache: bytes
    current: bool
    source: SharedBodyReader | None = None
    is_fresh: bool = False

    @property
    def tail_is_known(self) -> bool:
        """Whether it may say that it reached the tail, if it did."""
        slot = self.held.slot
        told = self.current or self.is_fresh
        return told or (slot is not None and slot.knows_tail(self.held))


class HttpCache:
    """One for each route; `flights` are its requests under way."""

    def __init__(
        self,
        store: Store[Kept],
        rules: ResponseRules,
        send: Callable[[Ask, CachedResponse | None], Awaitable[OriginAnswer]],
        clock: Callable[[], float],
        tail_of: Callable[[Ask], Callable[[str], bool]],
    ) -> None:
        self._store = store
        self._tail_of = tail_of
        self._rules = rules
        self._send = send
        self._clock = clock
        self._flights: dict[Hashable, SharedFetch] = {}
        self._of_path: dict[str, set[SharedFetch]] = {}
        self._passed: OrderedDict[Hashable, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.another: Callable[[str], None] = self.forget  # of a path where the stream is another
        # Whether what a flight has brought is of the stream that is there now.
        self.is_of_now: Callable[[SharedFetch, Landed | None], bool] = lambda *_: True
        self.collapsed = 0
        self.fetched = 0

    # Looking up

    def find(self, ask: Ask) -> CachedResponse | None:
        """The kept answer that fits the request, fresh or not."""
        slot = self._store.get(ask.key, self._clock())
        if not isinstance(slot, Variants):
            return None
        return policy.select(
            (held for held in slot.variants if held.is_for(ask.headers)), ask.headers
        )

    async def answer(self, ask: Ask, held_by: ExitStack) -> Given:
        """The answer to a GET. Raises NotCached and what the origin's failures are called.

        A body that is not whole yet is read until `held_by` is closed.
        """
        held = self.find(ask)
        now = self._clock()
        decision = policy.decide(None if held is None else held.stored, now)
        if held is not None and isinstance(decision, policy.Serve):
            return self.hit(held, "HIT", now)
        if held is not None and isinstance(decision, policy.ServeStale):
            self._refresh(ask, held, now)
            return self.hit(held, "STALE", now)
        if held is not None and now < held.rests_until and policy.serves_error(held.stored, now):
            return self.hit(held, "STALE", now)
        self._store.misses += 1
        if policy.only_if_cached(ask.headers):
            raise NotCached("only-if-cached: there is no answer here that is fresh")
        return await self._fetch(ask, held, held_by)

    def hit(self, held: CachedResponse, x_cache: str, now: float) -> Given:
        """A kept answer for one who asked for it."""
        assert held.slot is not None, "it was kept"
        self._store.hit(held.slot)
        ttl = int(held.stored.fresh_until - now)
        lines = cache_status.lines(
            x_cache, f"hit; ttl={ttl}", age=held.stored.age(now), hits=held.slot.hits
        )
        return Given(held, lines, current=False, is_fresh=held.stored.is_fresh(now))

    # Fetching

    async def _fetch(self, ask: Ask, old: CachedResponse | None, held_by: ExitStack) -> Given:
        """The answer of a request that is under way for the same, else of one more.

        What an answer varies with is known only when it has begun. Those for whom it is none join
        again, each with others who ask for the same variant.
        """
        varies = self._varies(ask)
        shared = not self.passes(ask)
        while (flight := self._joinable(_key(ask, varies))) is not None:
            self.collapsed += 1
            given = await self._taken(flight, ask, old, held_by, collapsed=True)
            if given is not None:
                return given
            old = self.find(ask)  # it may have been forgotten meanwhile
            more = varies | {name for name, _ in flight.begun.result().stored.vary}
            if not flight.shared or more == varies:
                shared = False
                break
            varies = more
        flight = self._take_off(_key(ask, varies), ask, old, shared=shared)
        given = await self._taken(flight, ask, old, held_by, collapsed=False)
        assert given is not None, "it was asked for this very request"
        return given

    def _joinable(self, key: Hashable) -> SharedFetch | None:
        flight = self._flights.get(key)
        return None if flight is None or flight.is_left else flight

    def _refresh(self, ask: Ask, old: CachedResponse, now: float) -> None:
        """Ask for a new one, unless somebody has, or did a moment ago in vain."""
        key = _key(ask, self._varies(ask))
        if not (old.is_asked_for or key in self._flights or now < old.rests_until):
            self._take_off(key, ask, old, shared=True).is_wanted = True

    def _varies(self, ask: Ask) -> frozenset[str]:
        """The fields that are known to select among the answers to a URL."""
        slot = self._store.get(ask.key, self._clock())
        if not isinstance(slot, Variants):
            return frozenset()
        return frozenset(name for held in slot.variants for name, _ in held.stored.vary)

    async def _taken(
        self,
        flight: SharedFetch,
        ask: Ask,
        old: CachedResponse | None,
        held_by: ExitStack,
        *,
        collapsed: bool,
    ) -> Given | None:
        """What a flight brings, whole or as it comes; None for one who may not have it."""
        if collapsed and not flight.shared:
            return None
        with ExitStack() as waiting:
            reader = flight.reader()
            waiting.callback(self._left, flight, reader)
            held = await asyncio.shield(flight.begun)
            if collapsed and not (flight.shared and policy.selects(ask.headers, held.stored)):
                return None
            patience_s = JOINED_S if collapsed else TOGETHER_S
            await asyncio.wait([flight.landed], timeout=patience_s)
            landed = flight.landed.result() if flight.landed.done() else None
            if landed is not None:
                return self._given(flight, landed, old, collapsed=collapsed)
            given = self._begun(flight, held, old, reader, collapsed=collapsed)
            held_by.push(waiting.pop_all())
        return given

    @staticmethod
    def _left(flight: SharedFetch, reader: SharedBodyReader) -> None:
        """One fewer waits."""
        reader.release()
        flight.check_wanted()

    def _begun(
        self,
        flight: SharedFetch,
        held: CachedResponse,
        old: CachedResponse | None,
        reader: SharedBodyReader,
        *,
        collapsed: bool,
    ) -> Given:
        status = f"fwd={_reason(old)}; fwd-status={held.status}{'; collapsed' if collapsed else ''}"
        age = _age(held, self._clock())
        lines = cache_status.lines("COLLAPSED" if collapsed else "MISS", status, age=age)
        return Given(held, lines, current=flight.is_current, source=reader)

    def _given(
        self, flight: SharedFetch, landed: Landed, old: CachedResponse | None, *, collapsed: bool
    ) -> Given:
        held, how = landed
        now = self._clock()
        age = _age(held, now)
        joined = "; collapsed" if collapsed else ""
        if how is How.STOOD_IN:
            assert held.slot is not None, "it was kept"
            self._store.hit(held.slot)
            status = f"fwd=stale{joined}; detail=stale-if-error"
            lines = cache_status.lines("STALE", status, age=age, hits=held.slot.hits)
            return Given(held, lines, current=False)
        status = f"fwd={_reason(old)}; fwd-status={304 if how is How.CONFIRMED else held.status}"
        stored = "; stored" if held.keep else ""
        name = "COLLAPSED" if collapsed else "REVALIDATED" if how is How.CONFIRMED else "MISS"
        lines = cache_status.lines(name, f"{status}{joined}{stored}", age=age)
        return Given(held, lines, current=flight.is_current)

    def _take_off(
        self, key: Hashable, ask: Ask, old: CachedResponse | None, *, shared: bool
    ) -> SharedFetch:
        flight = SharedFetch(key, ask, old, self._rules, self._clock, LONGEST_KEPT)
        self.fetched += 1
        if old is not None:
            old.is_asked_for = True
        if shared:
            self._flights[key] = flight
        self._of_path.setdefault(ask.path, set()).add(flight)
        task = asyncio.get_running_loop().create_task(flight.fly(partial(self._send, ask)))
        flight.landed.add_done_callback(partial(self._landed, flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(self._over, flight))
        return flight

    def _over(self, flight: SharedFetch, task: asyncio.Task[None]) -> None:
        """Whatever has raised: nobody waits for it any more, nor finds it."""
        self._take_out(flight)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("origin.answer_lost", target=flight.ask.path, exc_info=error)
        if task.cancelled() or error is not None:
            flight.fail(OriginBroken(UNUSABLE))

    def _take_out(self, flight: SharedFetch) -> None:
        """Let nobody join any more, nor make it old: it is over, or all but."""
        self._close(flight)
        if flight.old is not None:
            flight.old.is_asked_for = False
        others = self._of_path.get(flight.ask.path, set())
        others.discard(flight)
        if not others:
            self._of_path.pop(flight.ask.path, None)

    def _landed(self, flight: SharedFetch, landed: asyncio.Future[Landed | None]) -> None:
        """As soon as it is known what becomes of the answer, and before anybody has it."""
        self._take_out(flight)
        error = landed.exception()
        if error is None:
            if not self.is_of_now(flight, landed.result()):
                flight.of_the_past = flight.outdated = True
            self._settle(flight, landed.result())
        elif isinstance(error, StreamGone | OriginBehind):
            self._forget_another(flight.ask)
        elif not flight.given_up:
            self._let_rest(flight)

    def _forget_another(self, ask: Ask) -> None:
        """A stream ends before an offset: copies that go as far are of another stream.

        An offset that somebody made up says nothing of them.
        """
        slots = self._store.of_group(("path", ask.path))
        variants = (held for slot in slots if isinstance(slot, Variants) for held in slot.variants)
        if any(held.facts and held.facts.next_offset >= ask.start for held in variants):
            self.another(ask.path)

    def _settle(self, flight: SharedFetch, landed: Landed | None) -> None:
        held = flight.begun.result() if landed is None else landed.held
        stood_in = landed is not None and landed.how is How.STOOD_IN
        if stood_in or policy.is_error(held.status):
            self._let_rest(flight)
        if landed is None and held.status < 400:
            self._pass(flight.ask)
        if landed is None or not held.keep:
            self._drop_old(flight, held.status)
        elif not stood_in and not flight.outdated:
            self._keep(flight.ask, held)

    def _close(self, flight: SharedFetch) -> None:
        """Let nobody join any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _let_rest(self, flight: SharedFetch) -> None:
        if flight.old is not None:
            flight.old.rests_until = self._clock() + REST_S

    async def read(self, ask: Ask, limit: int) -> Given:
        """A whole answer, fresh, for whoever needs the bytes of a stream; shared like any other."""
        with ExitStack() as held_by:
            given = await self.answer(ask, held_by)
            if given.source is None:
                return given
            body = bytearray()
            async for part in given.source.parts():
                body += part
                if len(body) > limit:
                    raise OriginBroken(f"the origin answers a read with more than {limit} bytes")
        given.held.body = bytes(body)
        return given._replace(source=None)

    # Keeping

    def _keep(self, ask: Ask, held: CachedResponse) -> None:
        self._passed.pop(ask.flight, None)
        slot = self._store.get(ask.key, self._clock())
        if not isinstance(slot, Variants):
            slot = Variants(ask.key, ask.path, [], self._tail_of(ask))
        held.keep = self._store.put(slot.with_variant(held))

    def _drop_old(self, flight: SharedFetch, status: int) -> None:
        """What was to be validated stands no more, and what stands now is not to be kept."""
        old = flight.old
        if old is None or old.slot is None or policy.is_error(status):
            return
        slot = self._store.get(flight.ask.key, self._clock())
        if slot is old.slot:
            self._store.put(old.slot.without(old))

    def passes(self, ask: Ask) -> bool:
        """Whether the answer is known not to be kept: it must not be, or is too long."""
        return self._passed.get(ask.flight, 0.0) > self._clock()

    def _pass(self, ask: Ask) -> None:
        self._passed[ask.flight] = self._clock() + PASSED_S
        self._passed.move_to_end(ask.flight)
        if len(self._passed) > MAX_PASSED:
            self._passed.popitem(last=False)

    def forget(self, path: str) -> None:
        """A write may have changed everything at a path."""
        self._store.drop(("path", path))
        for flight in self._of_path.get(path, ()):
            flight.of_the_past = True
        self._outdate(path)

    def moved(self, path: str) -> None:
        """A stream has grown: what reached its tail is old, what lies before is not."""
        self._store.drop(("tail", path))
        self._outdate(path)

    def _outdate(self, path: str) -> None:
        for flight in self._of_path.get(path, ()):
            flight.outdated = True
            self._close(flight)

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _key(ask: Ask, varies: frozenset[str]) -> Hashable:
    """What equal requests are equal in."""
    return ask.flight, tuple((name, normalised(name, ask.headers)) for name in sorted(varies))


def _reason(old: CachedResponse | None) -> str:
    return "uri-miss" if old is None else "stale"


def _age(held: CachedResponse, now: float) -> int:
    return held.stored.age(now)
