"""The request that a fetch sends to the origin, and what is taken of its answers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec
from typing_extensions import override

from gateway.edge.reads.fetch import FetchExchange, FetchOwner, SharedFetch
from gateway.edge.reads.fetch_result import CONFIRMED, FETCHED, STOOD_IN, FetchResult
from gateway.edge.rules import conditional, policy
from gateway.errors import HeadgateError, OriginBehind, OriginBroken, StreamGone
from gateway.later import turn
from gateway.origin.answer import AnswerReceiver
from gateway.protocol.http.header_names import NEXT_OFFSET
from gateway.protocol.origins.repair import EMPTY_BYTES
from gateway.stepped import Step, in_task
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from contextvars import Context

    from gateway.edge.reads.shared_body import SharedBody
    from gateway.edge.reads.stream_knowledge import Doubt, StreamKnowledge
    from gateway.edge.reads.variants import Variant
    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.edge.rules.judged_heads import JudgedHeads
    from gateway.origin.answer import OriginAnswer, PendingRequest

    # Asks the origin, under these conditions if there are any.
    Send = Callable[[CacheRequest, Sequence[tuple[str, str]], AnswerReceiver], PendingRequest]
    Rest = Callable[[], Coroutine[None, None, None]]  # what is still to be done for an answer

NO_CONDITIONS: Sequence[tuple[str, str]] = ()  # what will be kept is whole
LONGEST_KEPT = 8 << 20  # bytes of an answer that is gathered for others while it comes
# For the rest of an answer that will be kept, when nobody waits for it any more: those who left may
# come back for it, and an origin that lets it trickle must not be asked for nobody for ever.
FINISH_S = 10.0
UNUSABLE = "the origin's answer could not be used"
NOBODY = "nobody waited for the origin's answer any more"


class AnswerRules:
    """The rules by which a route takes the answers of its origin."""

    def __init__(
        self, heads: JudgedHeads, clock: Callable[[], float], known: StreamKnowledge
    ) -> None:
        self.heads = heads
        self.clock = clock
        self.known = known

    def doubt(self, fetch: SharedFetch, cached: CachedResponse) -> Doubt | None:
        """Return what to wait for until an answer is known to go on what readers have, or None."""
        return None if cached.facts is None else self.known.comparison_before(fetch)

    def stand_in(self, request: CacheRequest, old: Variant | None) -> CachedResponse | None:
        """Return the cached response that may do instead of the origin's answer, or None."""
        cached = self.known.stand_in(request)
        if cached is None and old is not None and policy.serves_error(old.stored, self.clock()):
            return old.cached
        return cached


class ExchangeOwner(FetchOwner, Protocol):
    """The table of fetches, as an exchange with the origin uses it."""

    rules: AnswerRules
    send: Send

    def carried_out(self, exchange: OriginExchange) -> None:
        """Forget a fetch that is over."""


class OriginExchange(FetchExchange, AnswerReceiver):
    """The exchange of a fetch with its origin, which is cancelled without readers.

    It receives the origin's answer. What takes time then is done by a `step`, in the exchange's
    `context`.
    """

    # Class attributes, so that an exchange is cheap to create: few exchanges set them.
    needs_no_waiter = False  # True if it validates `old`, and goes on without a waiter to its head
    is_abandoned = False  # True once it was cancelled without waiters: no request may join it
    answer: OriginAnswer | None = None  # the last one; it may be read until the exchange is over
    context: Context | None = None  # of the request for which it is made, if that is traced
    ending: asyncio.TimerHandle | None = None  # ends it, unless its response completes before
    _conditions: Sequence[tuple[str, str]] = ()
    _pending: PendingRequest | None = None  # the request, until its answer has begun
    _step: Step[None] | None = None
    _came_whole: tuple[CachedResponse, bytes] | None = None  # an answer received in one piece

    def __init__(self, fetch: SharedFetch, owner: ExchangeOwner) -> None:
        self.fetch = fetch
        self.owner = owner
        self._rules = owner.rules
        self._sent_at = 0.0  # epoch seconds

    # Its life

    @override
    def cancel_ending(self) -> None:
        if self.ending is not None:
            self.ending.cancel()
            self.ending = None

    @override
    def end_without_waiters(self) -> None:
        """Cancel the exchange if nobody waits; a response to be cached gets FINISH_S to complete.

        Before its head has come it is not known whether it may be cached, so the exchange ends at
        once: a slow origin would stay busy for clients that ask and disconnect.
        """
        fetch = self.fetch
        if fetch.parts or self.is_abandoned or (self._pending is None and self._step is None):
            return  # still waited for, not started, or over
        if not fetch.response.done():
            if not self.needs_no_waiter:
                self._end()
        elif (
            fetch.body.passed_on
            or fetch.passed_by is not None
            or not fetch.response.result().is_storable
        ):
            self._end()
        elif self.ending is None:
            self.ending = asyncio.get_running_loop().call_later(FINISH_S, self._end)

    def _end(self) -> None:
        self.is_abandoned = True
        self.cancel()

    def cancel(self) -> None:
        """Give up the request, and fail its readers."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.abandon()
            self.fetch.fail(OriginBroken(NOBODY))
            self._leave()
        elif self._step is not None:
            self._step.cancel()

    def _leave(self) -> None:
        """End the exchange: everything is done."""
        self._step = None
        if self.ending is not None:
            self.ending.cancel()
        if self.answer is not None:
            self.answer.release()
        self.owner.carried_out(self)

    # The request

    def ask(self, conditions: Sequence[tuple[str, str]]) -> None:
        """Send the request. Whatever raises here is raised by who starts the fetch."""
        self._conditions, self._sent_at = conditions, self._rules.clock()
        self._pending = self.owner.send(self.fetch.request, conditions, self)

    # The answer

    @override
    def on_answer(self, answer: OriginAnswer) -> None:
        # It is known what others may have of the answer before those who wait go on.
        turn.depth += 1
        try:
            self._answered(answer)
        finally:
            turn.depth -= 1
        if turn.ready:
            turn.settle()

    def _answered(self, answer: OriginAnswer) -> None:
        self._pending, self.answer = None, answer
        rest: Rest | None = None
        try:
            if answer.status == 304 and self._conditions:
                self._confirm(answer)
            elif answer.body is None:
                if not self._is_settled_by(answer):
                    rest = partial(self._gather, answer)
            else:
                rest = self._take(answer)
        except Exception as failure:  # noqa: BLE001 - those who wait get an answer, and we a log line
            self._fail_by(failure)
        if rest is not None:
            self._step = step = Step(partial(self._carry_out, rest), self._on_done, self.context)
            step.run()
        elif self._pending is None:
            self._leave()

    @override
    def on_failure(self, error: Exception) -> None:
        self._pending = None
        try:
            self._fail_by(error)
        finally:
            self._leave()

    async def _carry_out(self, rest: Rest) -> None:
        """Do what takes time."""
        try:
            await rest()
        except (Exception, asyncio.CancelledError) as error:
            self._step = None
            self._fail_by(error)
            if isinstance(error, asyncio.CancelledError) and not self.is_abandoned:
                raise

    def _on_done(self, _: None, error: BaseException | None) -> None:
        """End the exchange, and fail its readers if the rest has raised."""
        try:
            if error is not None:
                if not isinstance(error, asyncio.CancelledError):
                    target = self.fetch.request.path
                    log.error("origin.answer_lost", target=target, exc_info=error)
                self.fetch.fail(OriginBroken(UNUSABLE))
        finally:
            self._leave()

    def _confirm(self, answer: OriginAnswer) -> None:
        """Take a 304; if the answer that is cached has changed, ask again without conditions."""
        fetch, rules = self.fetch, self._rules.heads.rules
        assert fetch.old is not None, "it had validators"
        answer.release()
        cached = fetch.old.cached
        if rules.confirms(cached, answer.headers):
            times = policy.Times(self._sent_at, self._rules.clock())
            new = rules.confirmed(fetch.request, cached, answer.headers, times)
            fetch.shared &= new.joinable  # what the 304 says may be for one reader alone
            fetch.finish(FetchResult(new, CONFIRMED))
        else:
            self.ask(NO_CONDITIONS)

    def _is_settled_by(self, answer: OriginAnswer) -> bool:
        """Return whether a cached response covers a failure. Raises OriginBroken if 304 or 206."""
        status = answer.status
        conditional.check_asked_for(status, ())
        return status >= 400 and policy.is_error(status) and self._stands_in()

    def _take(self, answer: OriginAnswer) -> Rest | None:
        """Process an answer that came in one piece; return what is to be waited for first."""
        if self._is_settled_by(answer):
            return None
        rules, body = self._rules, answer.body
        assert body is not None, "it is whole"
        times = policy.Times(self._sent_at, rules.clock())
        cached = rules.heads.judge(self.fetch.request, answer, times, body[: EMPTY_BYTES + 1])
        self._came_whole = cached, body
        doubt = self._rules.doubt(self.fetch, cached)
        if doubt is not None:
            return partial(self._when_sure, doubt)
        self._settle_whole()
        return None

    async def _when_sure(self, doubt: Doubt) -> None:
        """Settle an answer that came whole once it is known to go on what readers have."""
        await doubt()
        self._settle_whole()

    def _settle_whole(self) -> None:
        """Tell an answer that has come whole, also if it must not be kept."""
        assert self._came_whole is not None, "it has come"
        fetch, (cached, body) = self.fetch, self._came_whole
        if cached.joinable and len(body) <= LONGEST_KEPT:
            fetch.finish(FetchResult(cached.with_body(body), FETCHED))
        else:
            fetch.whole = FetchResult(msgspec.structs.replace(cached, body=body), FETCHED)
            fetch.response.set_result(cached)
            fetch.pass_on()

    async def _gather(self, answer: OriginAnswer) -> None:
        """Take an answer as it comes."""
        await in_task()
        fetch, rules = self.fetch, self._rules
        times = policy.Times(self._sent_at, rules.clock())
        body, parts = fetch.body, answer.parts()
        for part in fetch.parts:
            part.reader = body.reader()
        if NEXT_OFFSET in answer.headers:
            await _begin(body, parts)
        cached = rules.heads.judge(fetch.request, answer, times, body.whole())
        doubt = self._rules.doubt(self.fetch, cached)
        if doubt is not None:
            await doubt()
        too_long = cached.length is not None and cached.length > LONGEST_KEPT
        fetch.response.set_result(cached)
        if too_long or not (cached.joinable and answer.complete_by_length):
            fetch.pass_on()
        self.end_without_waiters()
        async for data in parts:
            body.add(data)
            if body.size > LONGEST_KEPT:
                fetch.pass_on()
            await body.wait_for_slowest()
        if not fetch.is_settled:
            fetch.finish(FetchResult(cached.with_body(body.whole()), FETCHED))
            await asyncio.sleep(0)  # who has read to the end and comes back finds it kept
        body.end()

    # Its failure

    def _fail_by(self, error: BaseException | None) -> None:
        """Let the stored response stand in for a failed one, or fail the fetch."""
        fetch = self.fetch
        if isinstance(error, asyncio.CancelledError):
            fetch.fail(OriginBroken(NOBODY))
            return
        if not isinstance(error, HeadgateError):
            log.error("origin.answer_unusable", target=fetch.request.path, exc_info=error)
            fetch.fail(OriginBroken(UNUSABLE))
            return
        is_of_the_past = isinstance(error, StreamGone | OriginBehind)  # and so may be what is kept
        if fetch.is_settled or is_of_the_past or not self._stands_in():
            fetch.fail(error)
        else:
            fetch.cut(error)

    def _stands_in(self) -> bool:
        """Let what is kept do instead of the origin's answer, if it may."""
        cached = self._rules.stand_in(self.fetch.request, self.fetch.old)
        if cached is None:
            return False
        self.fetch.finish(FetchResult(cached, STOOD_IN))
        return True


async def _begin(body: SharedBody, parts: AsyncIterator[bytes]) -> None:
    """Read enough of a body to know whether it is empty."""
    while body.size <= EMPTY_BYTES and (part := await anext(parts, b"")):
        body.add(part)
