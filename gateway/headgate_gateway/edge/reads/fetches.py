"""The GETs in flight at an origin: each has the readers of its response, and equal ones join it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.edge.reads import shared_response
from headgate_gateway.edge.reads.rule_results import RuleResults
from headgate_gateway.edge.reads.shared_response import (
    CONFIRMED,
    NO_READERS,
    SERVED_STALE,
    SharedResponse,
    next_number,
)
from headgate_gateway.errors import HeadgateError, OriginBehind, OriginBroken, StreamGone
from headgate_gateway.later import Later, turn
from headgate_gateway.origin.answer import AnswerReceiver
from headgate_gateway.protocol.http.header_names import NEXT_OFFSET
from headgate_gateway.rules import policy
from headgate_gateway.rules.directives import CONDITIONAL_STATUSES, check_conditional_status
from headgate_gateway.rules.repair import EMPTY_BYTES
from headgate_gateway.stepped import Step, in_task
from headgate_gateway.telemetry import tracing
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Sequence

    from headgate_gateway.edge.reads.shared_response import FetchReader, StreamKnowledge, Wait
    from headgate_gateway.edge.reads.variants import Variant
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.origin.client import SentRequest
    from headgate_gateway.protocol.streams.offsets import TailBound
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
    from headgate_gateway.rules.response_rules import ResponseRules
    from headgate_gateway.telemetry.metrics import Histogram

    # Asks the origin, under these conditions if there are any.
    Send = Callable[[CacheRequest, Sequence[tuple[str, str]], AnswerReceiver], SentRequest]
    Rest = Callable[[], Coroutine[None, None, None]]  # what is still to be done for an answer

NO_CONDITIONS: Sequence[tuple[str, str]] = ()  # a response to be cached is whole
# For the rest of a response to be cached, once it has no reader: those that left may come back for
# it, but an origin that sends it in trickles must not be kept busy for ever.
FINISH_S = 10.0
UNUSABLE = "the origin's answer could not be used"


class Fetch(SharedResponse, AnswerReceiver):
    """A GET at the origin, with the readers that wait for its response.

    It receives the origin's `answer`. A step then does what takes time, in the `context` of the
    request that began the fetch, if that is traced.
    """

    # Class attributes, so that a fetch is cheap to create: few fetches set them.
    needs_no_reader = False  # True if it goes on without readers until its head has come
    is_abandoned = False  # True once it was cancelled without readers
    answer: OriginAnswer | None = None  # the last one; it may be read until the fetch is over
    _conditions: Sequence[tuple[str, str]] = ()
    _sent_at = 0.0  # epoch seconds
    _work: SentRequest | Step[None] | None = None  # the request, or the rest of its answer

    def __init__(
        self, key: Hashable, request: CacheRequest, old: Variant | None, fetches: Fetches
    ) -> None:
        self.key = key
        self.number = next_number()
        self.request = request
        self.old = old
        self.response = Later()
        self.readers = set()
        self.context = None if tracing.current.get() is None else tracing.own_context()
        self._fetches = fetches

    # Its readers

    def leave(self, reader: FetchReader) -> None:
        """Remove a reader. Without readers, end the fetch, unless its response is to be cached."""
        self.readers.discard(reader)
        if reader.body is not None:
            reader.release()
        if self._work is None:
            if self.served_count and not self.readers:
                self._fetches.count_readers(self)
        else:
            self._end_without_readers()

    def _end_without_readers(self) -> None:
        """Cancel a request without readers; a response to be cached gets FINISH_S to complete.

        Only the head shows whether it may be cached, so before the head the fetch ends at once: a
        slow origin would stay busy for clients that ask and disconnect.
        """
        if self.readers or self.is_abandoned:
            return
        if not self.response.done():
            if not self.needs_no_reader:
                self._abandon()
        elif (
            not self.is_joinable
            or self.passed_by is not None
            or not self.response.result().is_storable
        ):
            self._abandon()
        elif self.ending is None:
            self.ending = asyncio.get_running_loop().call_later(FINISH_S, self._abandon)

    # Its life

    def ask(self, conditions: Sequence[tuple[str, str]]) -> None:
        """Send the request. Exceptions go to the caller that starts the fetch."""
        self._conditions, self._sent_at = conditions, self._fetches.clock()
        self._work = self._fetches.send(self.request, conditions, self)

    def _abandon(self) -> None:
        self.is_abandoned = True
        self._fetches.close_to_others(self)
        self.cancel()

    def cancel(self) -> None:
        """Give up the request, and fail its readers."""
        work = self._work
        if isinstance(work, Step):
            work.cancel()
        elif work is not None:
            self._work = None
            work.abandon()
            self.fail(OriginBroken(NO_READERS))
            self._end()

    def _end(self) -> None:
        """Release the answer and forget the fetch, which is done."""
        self._work = None
        if self.ending is not None:
            self.ending.cancel()
        if self.answer is not None and self.answer.unread is not None:
            self.answer.release()
        self.answer = None
        self._fetches.ended(self)

    @override
    def _settle(self) -> None:
        self._fetches.mark_settled(self)
        self._fetches.on_settled(self)
        if self._settling is not None:
            self._wake()

    # The answer

    @override
    def on_answer(self, answer: OriginAnswer) -> None:
        # It is known which other requests may get the answer before the readers go on.
        turn.depth += 1
        try:
            self._work, self.answer, self.server = None, answer, answer.server
            rest = self._take(answer)
            if rest is not None:
                self._work = step = Step(rest, self._on_done, self.context)
                step.run()
            elif self._work is None:
                self._end()
        finally:
            turn.depth -= 1
        if turn.ready:
            turn.settle()

    def _take(self, answer: OriginAnswer) -> Rest | None:
        """Process an answer as far as that takes no time; return the rest of the work."""
        try:
            if answer.status == 304 and self._conditions:
                self._confirm(answer)
                return None
            if answer.status in CONDITIONAL_STATUSES:
                check_conditional_status(answer.status, ())
            if answer.status >= 500 and policy.is_error(answer.status) and self._finish_stale():
                return None
            body = answer.body
            if body is None:
                return partial(self._gather, answer)
            fetches, times = self._fetches, policy.Times(self._sent_at, self._fetches.clock())
            cached = fetches.results.apply(self.request, answer, times, body[: EMPTY_BYTES + 1])
            wait = None if cached.facts is None else fetches.known.comparison_before(self)
            if wait is not None:
                return partial(self._settle_after, wait, cached, body)
            self.settle_whole(cached, body)
        except Exception as failure:  # noqa: BLE001 - those who wait get an answer, and we a log line
            self._fail_by(failure)
        return None

    def _confirm(self, answer: OriginAnswer) -> None:
        """Apply a 304; if the cached response has changed, ask again without conditions."""
        rules = self._fetches.results.rules
        assert self.old is not None, "it had validators"
        answer.release()
        cached = self.old.cached
        if rules.confirms(cached, answer.headers):
            times = policy.Times(self._sent_at, self._fetches.clock())
            new = rules.confirmed(self.request, cached, answer.headers, times)
            self.is_joinable &= new.joinable  # what the 304 says may be for one reader alone
            self.finish(new, CONFIRMED)
        else:
            self.ask(NO_CONDITIONS)

    async def _settle_after(self, wait: Wait, head: CachedResponse, body: bytes) -> None:
        """Settle a whole answer, once it is known to be of the same stream."""
        await wait()
        self.settle_whole(head, body)

    async def _gather(self, answer: OriginAnswer) -> None:
        """Pass on the body of an answer as it arrives, and gather it for the cache."""
        await in_task()
        fetches, times = self._fetches, policy.Times(self._sent_at, self._fetches.clock())
        start, parts = b"", answer.parts()
        if NEXT_OFFSET in answer.headers:
            while len(start) <= EMPTY_BYTES and (part := await anext(parts, b"")):
                start += part  # enough to know whether it is empty
        cached = fetches.results.apply(self.request, answer, times, start)
        wait = None if cached.facts is None else fetches.known.comparison_before(self)
        if wait is not None:
            await wait()
        body = self.begin_body(start)
        self.response.set_result(cached)
        too_long = (cached.length or 0) > shared_response.LONGEST_GATHERED
        if too_long or not (cached.joinable and answer.complete_by_length):
            self.pass_on()
        self._end_without_readers()
        async for data in parts:
            await self.add(body, data)
        if not self.is_settled:
            self.finish(cached.with_body(body.whole()))
            await asyncio.sleep(0)  # a reader that comes back after the end finds it cached
        body.end()

    def _on_done(self, _: None, error: BaseException | None) -> None:
        """End the fetch, and fail its readers if the rest of its answer has raised."""
        self._work = None
        try:
            if error is not None:
                self._fail_by(error)
        except Exception as failure:  # noqa: BLE001 - those who wait get an answer, and we a log line
            log.error("origin.answer_lost", target=self.request.path, exc_info=failure)
            self.fail(OriginBroken(UNUSABLE))
        finally:
            self._end()

    # Its failure

    @override
    def on_failure(self, error: Exception) -> None:
        self._work = None
        try:
            self._fail_by(error)
        finally:
            self._end()

    def _fail_by(self, error: BaseException) -> None:
        """Serve the stored response if it may be used on errors, or fail the readers."""
        if isinstance(error, asyncio.CancelledError):
            self.fail(OriginBroken(NO_READERS))
            return
        if not isinstance(error, HeadgateError):
            log.error("origin.answer_unusable", target=self.request.path, exc_info=error)
            self.fail(OriginBroken(UNUSABLE))
            return
        # The cached response may be of an earlier stream, too.
        is_of_the_past = isinstance(error, StreamGone | OriginBehind)
        if self.is_settled or is_of_the_past or not self._finish_stale():
            self.fail(error)
        elif self.body is not None:  # readers that have its beginning get no more
            self.body.end(error)

    def _finish_stale(self) -> bool:
        """Settle the fetch with recent or cached data if that is allowed; return whether it was."""
        fetches, old = self._fetches, self.old
        cached = fetches.known.recent_response(self.request)
        if cached is None and old is not None and policy.serves_error(old.stored, fetches.clock()):
            cached = old.cached
        if cached is None:
            return False
        self.finish(cached, SERVED_STALE)
        return True


class Fetches:
    """The fetches of a route that are under way; equal requests find the `joinable` ones.

    `on_settled` is called as soon as it is known what becomes of an answer, before readers get it.
    `started` counts all fetches, `collapsed` the requests that joined one.
    """

    def __init__(
        self,
        rules: ResponseRules,
        send: Send,
        clock: Callable[[], float],
        known: StreamKnowledge,
        on_settled: Callable[[Fetch], None],
        collapsed: Histogram,
    ) -> None:
        self.results = RuleResults(rules)
        self.send = send
        self.clock = clock
        self.known = known
        self.started = self.collapsed = 0
        self.joinable: dict[Hashable, Fetch] = {}
        self.on_settled = on_settled
        self._collapsed = collapsed
        self.under_way: dict[str, set[Fetch]] = {}  # by path
        self._idle: Later[None] | None = None  # set while `close` waits until none is under way

    def start(self, fetch: Fetch, *, is_joinable: bool) -> None:
        """Send the request of a fetch; if it is `shared`, equal requests can join it."""
        self.started += 1
        old, context = fetch.old, fetch.context
        try:
            if old is not None:
                old.is_validating = True
            if is_joinable:
                self.joinable[fetch.key] = fetch
            self.under_way.setdefault(fetch.request.path, set()).add(fetch)
            conditions = NO_CONDITIONS if old is None else old.cached.validators
            try:
                if context is None:
                    fetch.ask(conditions)
                else:
                    context.run(fetch.ask, conditions)
            except HeadgateError as error:  # it cannot be sent: its readers get the error
                fetch.on_failure(error)
        except BaseException:
            self.mark_settled(fetch)  # a reader that joined it would wait for ever
            self.ended(fetch)
            raise

    def outdate(self, path: str, reach: TailBound | None) -> None:
        """Let no request join the fetches of a path that began before a write.

        Without a `reach`, another stream may be at the path.
        """
        for fetch in self.under_way.get(path, ()):
            if not fetch.is_settled:
                fetch.outdate(reach)
                self.close_to_others(fetch)

    def outdate_all(self) -> None:
        """Let no request join a fetch under way: any path may have another stream now."""
        for path in self.under_way:
            self.outdate(path, None)

    def close_to_others(self, fetch: Fetch) -> None:
        """Let no further request join a fetch."""
        if self.joinable.get(fetch.key) is fetch:
            del self.joinable[fetch.key]

    def ended(self, fetch: Fetch) -> None:
        """Forget a fetch that is over."""
        path = fetch.request.path
        others = self.under_way.get(path, set())
        others.discard(fetch)
        if not others:
            self.under_way.pop(path, None)
        try:
            if not fetch.readers:
                self.count_readers(fetch)
        finally:
            idle = self._idle
            if idle is not None and not self.under_way:
                self._idle = None
                idle.set_result(None)

    def count_readers(self, fetch: Fetch) -> None:
        """Count the readers of a fetch that is over, after the last one has left."""
        if fetch.served_count:
            self._collapsed.observe(fetch.served_count)
            fetch.served_count = 0

    def mark_settled(self, fetch: Fetch) -> None:
        """Let no request join any more, and no write outdate the fetch: its result is known."""
        fetch.is_settled = True
        if self.joinable.get(fetch.key) is fetch:
            del self.joinable[fetch.key]
        if fetch.old is not None:
            fetch.old.is_validating = False

    async def close(self) -> None:
        """Cancel all fetches, and wait until they have ended."""
        for fetch in [fetch for fetches in self.under_way.values() for fetch in fetches]:
            fetch.cancel()
        if self.under_way:
            self._idle = self._idle or Later()
            await self._idle
