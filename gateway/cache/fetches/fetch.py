"""A GET under way at an origin, for its leader and for everybody who joins it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.cache.fetches.fetched import CONFIRMED, FETCHED, STOOD_IN, Fetched, FetchPart
from gateway.cache.fetches.shared_body import SharedBody
from gateway.cache.order import next_number
from gateway.cache.rules import conditional, policy
from gateway.errors import HeadgateError, OriginBehind, OriginBroken, StreamGone
from gateway.later import Later, is_set_within
from gateway.origin.waiting import Waiting, answer_of
from gateway.origin.whole_answer import WholeAnswer
from gateway.protocol.http.header_names import NEXT_OFFSET
from gateway.protocol.origins.repair import EMPTY_BYTES
from gateway.protocol.streams.reach import Reach
from gateway.stepped import in_task
from gateway.telemetry import tracing
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
    from contextvars import Context

    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
    from gateway.cache.rules.judged_heads import JudgedHeads
    from gateway.cache.variants import Variant
    from gateway.origin.in_step import ConnectionHistory
    from gateway.origin.response import OriginAnswer
    from gateway.origin.whole_answer import AnyAnswer
    from gateway.stepped import Step

    # Asks the origin, under these conditions if there are any.
    Send = Callable[[list[tuple[str, str]]], Awaitable[AnyAnswer]]
    Doubt = Callable[[], Awaitable[None]]
    Rest = Callable[[], Coroutine[None, None, None]]  # what is still to be done for an answer

NO_CONDITIONS = ()  # what will be kept is whole
# For the rest of an answer that will be kept, when nobody waits for it any more: those who left may
# come back for it, and an origin that lets it trickle must not be asked for nobody for ever.
FINISH_S = 10.0
REST_S = 1.0  # an origin that failed to refresh a copy is not asked for it again at once
UNUSABLE = "the origin's answer could not be used"
NOBODY = "nobody waited for the origin's answer any more"


class SharedFetch:
    """`begun` is done when the answer's head is known, and `fetched` is there when all is.

    `fetched` stays None for an answer that is not kept for others: it must not be, or is too long
    to be. What has come whole is in `told` all the same. Once it has begun, `shared` says whether
    it may be joined; equal requests find it under `key`, and a later one has a higher `number`.
    `old` is to be validated. `is_stored` says whether the answer was put into the store.
    """

    # What few fetches come to differ in stands here: so to make one is cheap.
    shared = True
    outdated = False  # a write has passed by: not to be kept, nor joined
    of_the_past = False  # perhaps of another stream than is there now
    passed_by = Reach()  # what is known of the writes that have
    is_wanted = False  # also while nobody waits: it is to tell whether `old` still stands
    is_stored = False
    given_up = False  # nobody waited any more: it says nothing of the origin, and is not joined
    given = 0  # to so many readers
    server = ""  # the incarnation of the server that has answered
    is_settled = False  # it is known what becomes of the answer: `fetched`, or an `error`
    fetched: Fetched | None = None
    error: HeadgateError | None = None
    told: Fetched | None = None
    # What may stand in for the answer besides `old`, if anything.
    in_place: Callable[[CacheRequest], CachedResponse | None] | None = None
    # Called when a server has begun to answer with data; returns what is to be waited for before
    # anybody may have them. That raises where nobody may.
    on_heard: Callable[[SharedFetch], Doubt | None] | None = None
    is_over = False
    history: ConnectionHistory | None = None  # the history of the answer's connection
    context: Context | None = None  # of the request for which it is made, if that is traced
    step: Step[Any] | None = None  # carries it out, until it is over
    ending: asyncio.TimerHandle | None = None  # of one that nobody waits for, but that is kept
    _body: SharedBody | None = None  # nobody reads most of them in parts
    _settling: Later[None] | None = None  # somebody waits until it is settled
    unread: AnyAnswer | None = None  # it may be read until the fetch is over
    _question: Awaitable[AnyAnswer] | None = None  # that is out
    _whole: tuple[CachedResponse, bytes] | None = None  # an answer that came as one

    def __init__(
        self,
        key: Hashable,
        request: CacheRequest,
        old: Variant | None,
        heads: JudgedHeads,
        clock: Callable[[], float],
        longest: int,
    ) -> None:
        self.key = key
        self.number = next_number()
        self.request = request
        self.leader = tracing.current.get()  # for whom it is made
        self.begun: Later[CachedResponse] = Later()
        # Called as soon as it is settled, before anybody has what it tells.
        self.on_settled: Callable[[SharedFetch], object] | None = None
        self.old = old
        self.parts: set[FetchPart] = set()  # of all who wait for it
        self._heads = heads
        self._clock = clock
        self._longest = longest
        self._asked = 0.0  # when the request went out, epoch seconds
        self._conditions: list[tuple[str, str]] = []

    @property
    def body(self) -> SharedBody:
        """The body received so far, for clients that read it as it arrives."""
        if self._body is None:
            self._body = SharedBody()
        return self._body

    @property
    def is_current(self) -> bool:
        """True if the response has everything that was written while the fetch was under way."""
        if not self.outdated:
            return True
        facts = self.begun.result().facts
        if self.of_the_past or facts is None:
            return False
        return self.passed_by.is_told_by(facts.next_offset, closed=facts.closed)

    def trusts_connection(self, distrust: Callable[[tuple[str, str], str], None]) -> bool:
        """Return whether the answer belongs to its request, as far as its connection shows.

        If the connection turns out to be out of step later, `distrust` is called with key and path.
        """
        history, key = self.history, self.request.key
        return history is None or history.note(key, partial(distrust, key, self.request.path))

    def ask(self, send: Send) -> Awaitable[AnyAnswer | None]:
        """Ask the origin, and return what its answer is awaited by; None once that is taken."""
        self._conditions = [] if self.old is None else self.old.cached.validators
        self._asked = self._clock()
        sent = self._question = send(self._conditions)
        return sent if isinstance(sent, Waiting) else self._asked_in_task(send, sent)

    async def _asked_in_task(self, send: Send, sent: Awaitable[AnyAnswer]) -> None:
        """Take an answer in its own task: before a cut, what has come can still be read."""
        self.unread = answer = await sent
        rest = self.answered(send, answer, None)
        if rest is not None:
            await rest()

    def answered(
        self, send: Send, answer: AnyAnswer | None, error: BaseException | None
    ) -> Rest | None:
        """Take the answer, or why there is none; return what is still to be done, if anything."""
        if answer is None:
            self.step = None
            if isinstance(error, asyncio.CancelledError) and isinstance(self._question, Waiting):
                self._question.leave()
            self._fail_by(error)
            return None
        if not isinstance(answer, WholeAnswer) or (answer.status == 304 and self._conditions):
            return partial(self._go_on, send, answer)
        try:
            doubt = self._take(answer)
            return None if doubt is None else partial(self._when_sure, doubt)
        except Exception as failure:  # noqa: BLE001 - those who wait get an answer, and we a log line
            self._fail_by(failure)
            return None

    async def _when_sure(self, doubt: Doubt) -> None:
        """Tell what has come whole once it is known to go on what readers have."""
        try:
            await doubt()
        except Exception as error:  # noqa: BLE001 - as of `answered`
            self._fail_by(error)
        else:
            self._tell()

    async def _go_on(self, send: Send, first: AnyAnswer) -> None:
        """Take an answer that comes in parts, or confirms what is kept."""
        answer: AnyAnswer | None = first
        try:
            if first.status == 304 and self._conditions:
                answer = await self._confirmed(first, send)
            if isinstance(answer, WholeAnswer):
                doubt = self._take(answer)
                if doubt is not None:
                    await self._when_sure(doubt)
            elif answer is not None and not self._is_settled_by(answer):
                await self._gather(answer)
        except (Exception, asyncio.CancelledError) as error:
            self.step = None
            self._fail_by(error)
            if isinstance(error, asyncio.CancelledError) and not self.given_up:
                raise

    def join(self) -> FetchPart:
        """Have one more wait for it."""
        part = FetchPart()
        self.parts.add(part)
        if self.ending is not None:  # somebody waits for it again
            self.ending.cancel()
            self.ending = None
        if self._body is not None:
            part.reader = self._body.reader()
        return part

    def leave(self, part: FetchPart) -> None:
        """Have one fewer wait for it."""
        self.parts.discard(part)
        if part.reader is not None:
            part.reader.release()
        if self.step is not None:
            self.check_wanted()

    def check_wanted(self) -> None:
        """End it when nobody waits for it any more; what will be kept has FINISH_S to come.

        Before its head is there nothing of it has come, nor is it known whether it may be kept: an
        origin that is slow to begin would be kept busy by whoever asks and leaves.
        """
        if self.step is None or self.given_up or self.parts:
            return  # it has not begun, or is over, or wanted
        if not self.begun.done():
            if not self.is_wanted:
                self._end()
        elif self.body.passed_on or self.outdated or not self.begun.result().keep:
            self._end()
        elif self.ending is None:
            self.ending = asyncio.get_running_loop().call_later(FINISH_S, self._end)

    def _end(self) -> None:
        self.given_up = True
        if self.step is not None:
            self.step.cancel()

    async def _confirmed(self, answer: AnyAnswer, send: Send) -> AnyAnswer | None:
        """Take a 304; if another answer has not changed, ask again and return what comes."""
        old, rules = self.old, self._heads.rules
        assert old is not None, "it had validators"
        self.history, self.server = answer.history, answer.server
        answer.release()
        if rules.confirms(old.cached, answer.headers):
            times = policy.Times(self._asked, self._clock())
            new = rules.confirmed(self.request, old.cached, answer.headers, times)
            self.shared &= new.joinable  # what the 304 says may be for one reader alone
            self._finish(Fetched(new, CONFIRMED))
            return None
        self._asked = self._clock()
        self.unread = await answer_of(send([]))
        return self.unread

    def _fail_by(self, error: BaseException | None) -> None:
        """Let what is kept stand in for an answer that failed, or tell those who wait."""
        if isinstance(error, asyncio.CancelledError):
            self.fail(OriginBroken(NOBODY))
            return
        if not isinstance(error, HeadgateError):
            log.error("origin.answer_unusable", target=self.request.path, exc_info=error)
            self.fail(OriginBroken(UNUSABLE))
            return
        is_of_the_past = isinstance(error, StreamGone | OriginBehind)  # and so may be what is kept
        if self.is_settled or is_of_the_past or not self._stand_in():
            self.fail(error)
        elif self._body is not None:
            self._body.fail(error)  # for those who have its beginning

    def _stand_in(self) -> bool:
        """Let what is kept do instead of the origin's answer, if it may."""
        cached = None if self.in_place is None else self.in_place(self.request)
        old = self.old
        if cached is None and old is not None and policy.serves_error(old.stored, self._clock()):
            cached = old.cached
        if cached is None:
            return False
        self._finish(Fetched(cached, STOOD_IN))
        return True

    def _doubt(self) -> Doubt | None:
        """Return what to wait for until the answer is known to go on what readers have, or None."""
        return None if self.on_heard is None else self.on_heard(self)

    def _is_settled_by(self, answer: AnyAnswer) -> bool:
        """Return whether a cached response covers a failure. Raises OriginBroken if 304 or 206."""
        status = answer.status
        self.history, self.server = answer.history, answer.server
        conditional.check_asked_for(status, NO_CONDITIONS)
        return status >= 400 and policy.is_error(status) and self._stand_in()

    def _take(self, answer: WholeAnswer) -> Doubt | None:
        """Take an answer that came as one; return what to wait for before it is told, if so."""
        if self._is_settled_by(answer):
            return None
        body, times = answer.body, policy.Times(self._asked, self._clock())
        cached = self._heads.judge(self.request, answer, times, body[: EMPTY_BYTES + 1])
        self._whole = cached, body
        if cached.facts is not None and (doubt := self._doubt()) is not None:
            return doubt
        self._tell()
        return None

    def _tell(self) -> None:
        """Tell an answer that has come whole, also if it must not be kept."""
        assert self._whole is not None, "it has come"
        cached, body = self._whole
        if cached.joinable and len(body) <= self._longest:
            self._finish(Fetched(cached.with_body(body), FETCHED))
        else:
            self.told = Fetched(msgspec.structs.replace(cached, body=body), FETCHED)
            self.begun.set_result(cached)
            self._pass_on()

    async def _gather(self, answer: OriginAnswer) -> None:
        """Take an answer as it comes."""
        await in_task()
        times = policy.Times(self._asked, self._clock())
        body, parts = self.body, answer.parts()
        for part in self.parts:
            part.reader = body.reader()
        if NEXT_OFFSET in answer.headers:
            await self._begin(parts)
        cached = self._heads.judge(self.request, answer, times, body.whole())
        if cached.facts is not None and (doubt := self._doubt()) is not None:
            await doubt()
        too_long = cached.length is not None and cached.length > self._longest
        self.begun.set_result(cached)
        if too_long or not (cached.joinable and answer.complete_by_length):
            self._pass_on()
        self.check_wanted()
        async for data in parts:
            body.add(data)
            if body.size > self._longest:
                self._pass_on()
            await body.kept_up()
        if not self.is_settled:
            self._finish(Fetched(cached.with_body(body.whole()), FETCHED))
            await asyncio.sleep(0)  # who has read to the end and comes back finds it kept
        body.end()

    async def _begin(self, parts: AsyncIterator[bytes]) -> None:
        """Read as much of the body as tells whether it is empty."""
        while self.body.size <= EMPTY_BYTES and (part := await anext(parts, b"")):
            self.body.add(part)

    def _pass_on(self) -> None:
        """Let nobody join any more: the body goes to those who have begun to read it."""
        if not self.is_settled:
            self.shared = False
            if self._body is not None:
                self._body.pass_on()
            self._settle()

    def _finish(self, fetched: Fetched) -> None:
        self.fetched = self.told = fetched
        self._settle()
        if not self.begun.done():
            self.begun.set_result(fetched.cached)

    def _settle(self) -> None:
        self.is_settled = True
        if self.on_settled is not None:
            self.on_settled(self)
        settling = self._settling
        if settling is not None:
            self._settling = None
            settling.set_result(None)

    async def settled_within(self, timeout_s: float) -> None:
        """Wait for so long until it is known what becomes of the answer. Raises what cut it."""
        if not self.is_settled:
            if self._settling is None:
                self._settling = Later()
            await is_set_within(self._settling, timeout_s)
        if self.error is not None:
            raise self.error.with_traceback(None)

    def let_rest(self) -> None:
        """Leave the origin alone for a moment: it has failed to say whether `old` still stands."""
        if self.old is not None:
            self.old.rests_until = self._clock() + REST_S

    def fail(self, error: HeadgateError) -> None:
        """Tell those who wait that there is nothing more to come, unless they have it all."""
        # The frames of the error and of its causes have this fetch: they would stay in memory.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        if self._body is not None:
            self._body.fail(error)
        if not self.is_settled:
            self.error = error
            self._settle()
        if not self.begun.done():
            self.begun.set_exception(error)
