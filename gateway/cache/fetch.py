"""A GET under way at an origin, for its leader and for everybody who joins it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from enum import Enum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.cache import policy
from gateway.cache.cached_response import CachedResponse
from gateway.cache.shared_body import SharedBody
from gateway.cache.told import Told
from gateway.errors import HeadgateError, OriginBehind, OriginBroken, StreamGone
from gateway.protocol.header_names import NEXT_OFFSET
from gateway.protocol.reach import Reach
from gateway.protocol.repair import EMPTY_BYTES
from gateway.telemetry import tracing
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

    from multidict import MultiMapping

    from gateway.cache.cached_response import CacheRequest
    from gateway.cache.response_rules import ResponseRules
    from gateway.cache.shared_body import SharedBodyReader
    from gateway.cache.variants import Variant
    from gateway.origin.in_step import ConnectionHistory

    # Asks the origin, under these conditions if there are any.
    Send = Callable[[list[tuple[str, str]]], Awaitable["Answer"]]
    Doubt = Callable[[], Awaitable[None]]

# A part of the answer, or that it has not changed: we ask for all, and it was no condition of ours.
NOT_ASKED_FOR = frozenset({206, 304})
# For the rest of an answer that will be kept, when nobody waits for it any more: those who left may
# come back for it, and an origin that lets it trickle must not be asked for nobody for ever.
FINISH_S = 10.0
REST_S = 1.0  # an origin that failed to refresh a copy is not asked for it again at once
UNUSABLE = "the origin's answer could not be used"
NOBODY = "nobody waited for the origin's answer any more"

_numbers = count()


class Answer(Protocol):
    """What an origin answers: its head, and its body in parts as they come."""

    status: int
    server: str

    @property
    def history(self) -> ConnectionHistory | None:
        """The answers on the connection since it was last known to be in step."""

    @property
    def complete_by_length(self) -> bool:
        """Whether its end is told beforehand, so that one that is cut cannot pass for whole."""

    @property
    def headers(self) -> MultiMapping[str]:
        """Its fields."""

    def parts(self) -> AsyncIterator[bytes]:
        """The body. Raises HeadgateError."""

    def release(self) -> None:
        """No more is wanted."""


class How(Enum):
    """What became of the request."""

    FETCHED = "fetched"
    CONFIRMED = "confirmed"
    STOOD_IN = "stood in"  # the origin failed


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
FETCHED, CONFIRMED, STOOD_IN = How


class Fetched(msgspec.Struct, frozen=True):
    """A whole answer, and how it came."""

    cached: CachedResponse
    how: How


class SharedFetch:
    """`begun` is done when the answer's head is known, `fetched` when all is.

    `fetched` is None for an answer that is not kept for others: it must not be, or is too long to
    be. Once it has begun, `shared` says whether it may be joined; equal requests find it under
    `key`, and a later one has a higher `number`. `old` is to be validated. `is_stored` says
    whether the answer was put into the store.
    """

    # What few fetches come to differ in stands here: so to make one is cheap.
    shared = True
    outdated = False  # a write has passed by: not to be kept, nor joined
    of_the_past = False  # perhaps of another stream than is there now
    passed_by = Reach()  # what is known of the writes that have
    is_wanted = False  # also while nobody waits: it is to tell whether `old` still stands
    is_stored = False
    given_up = False  # nobody waited any more, so it says nothing of the origin
    given = 0  # to so many readers
    server = ""  # the incarnation of the server that has answered
    told: Fetched | None = None  # the whole answer, also if it must not be cached
    # What may stand in for the answer besides `old`, if anything.
    in_place: Callable[[CacheRequest], CachedResponse | None] | None = None
    # Called when a server has begun to answer with data; returns what is to be waited for before
    # anybody may have them. That raises where nobody may.
    on_heard: Callable[[SharedFetch], Doubt | None] | None = None
    is_over = False
    history: ConnectionHistory | None = None  # the history of the answer's connection
    _time: asyncio.Timeout | None = None
    _body: SharedBody | None = None  # nobody reads most of them in parts

    def __init__(
        self,
        key: Hashable,
        request: CacheRequest,
        old: Variant | None,
        rules: ResponseRules,
        clock: Callable[[], float],
        longest: int,
    ) -> None:
        self.key = key
        self.number = next(_numbers)
        self.request = request
        self.leader = tracing.current.get()  # for whom it is made
        self.begun: Told[CachedResponse] = Told()
        self.fetched: Told[Fetched | None] = Told()
        # Called as soon as `fetched` is done, before anybody has what it tells.
        self.on_fetched: Callable[[SharedFetch], object] | None = None
        self.old = old
        self._rules = rules
        self._clock = clock
        self._longest = longest

    @property
    def body(self) -> SharedBody:
        """What has come of the answer, for who reads it while it comes."""
        if self._body is None:
            self._body = SharedBody()
        return self._body

    @property
    def is_read(self) -> bool:
        """Whether somebody waits for it in a task."""
        return self._body is not None and self._body.is_read

    @property
    def is_current(self) -> bool:
        """Whether it has all that was written while it was under way, so that it tells of now."""
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

    async def run(self, send: Send) -> None:
        """Carry it out. Whatever happens is told by these two, and to who reads the body."""
        try:
            async with asyncio.timeout(None) as self._time:
                self.check_wanted()  # all may have left before it began
                await self._exchange(send)
        except HeadgateError as error:
            self.fail(error)
        except asyncio.CancelledError:
            self.fail(OriginBroken(NOBODY))
            raise
        except TimeoutError:
            self.given_up = True
            self.fail(OriginBroken(NOBODY))
        except Exception:  # noqa: BLE001 - those who wait get an answer, and we a log line
            log.exception("origin.answer_unusable", target=self.request.path)
            self.fail(OriginBroken(UNUSABLE))
        finally:
            self._time = None

    @property
    def is_left(self) -> bool:
        """Whether it ends, or has ended, since nobody waited: who wants the same asks anew."""
        return self.given_up or (self._time is not None and self._time.expired())

    def reader(self) -> SharedBodyReader:
        """One more who waits for it."""
        if self._time is not None:
            self._time.reschedule(None)
        return self.body.reader()

    def leave(self, reader: SharedBodyReader) -> None:
        """One fewer waits for it."""
        reader.release()
        self.check_wanted()

    def check_wanted(self) -> None:
        """End it when nobody waits for it any more; what will be kept has FINISH_S to come.

        Before its head is there nothing of it has come, nor is it known whether it may be kept: an
        origin that is slow to begin would be kept busy by whoever asks and leaves.
        """
        if self._time is None or self.given_up or self.is_read:
            return  # it has not begun, or is over, or wanted
        if not self.begun.done():
            self.given_up = not self.is_wanted
        else:
            self.given_up = self.body.passed_on or self.outdated or not self.begun.result().keep
        if self.given_up or self.begun.done():
            now = asyncio.get_running_loop().time()
            self._time.reschedule(now if self.given_up else now + FINISH_S)

    async def _exchange(self, send: Send) -> None:
        try:
            await self._ask(send, None if self.old is None else self.old.cached)
        except (StreamGone, OriginBehind):
            raise  # what is kept may be of the past
        except HeadgateError as error:
            if self.fetched.done() or not self._stand_in():
                raise
            self.body.fail(error)  # for those who have its beginning

    async def _ask(self, send: Send, old: CachedResponse | None) -> None:
        asked = self._asks_at()
        with ExitStack() as resources:
            answer = await send([] if old is None else old.validators)
            resources.callback(answer.release)
            self.history, self.server = answer.history, answer.server
            times = policy.Times(asked, self._clock())
            if answer.status == 304 and old is not None and old.validators:
                if not self._confirm(old, answer.headers, times):
                    answer.release()
                    await self._ask(send, None)
            elif answer.status in NOT_ASKED_FOR:
                raise OriginBroken(
                    f"the origin answered with a {answer.status} that was not asked for"
                )
            elif not (policy.is_error(answer.status) and self._stand_in()):
                await self._gather(answer, times)

    def _confirm(
        self, old: CachedResponse, headers: MultiMapping[str], times: policy.Times
    ) -> bool:
        """Take a 304; False where it is another answer that has not changed."""
        if not self._rules.confirms(old, headers):
            return False
        new = self._rules.confirmed(self.request, old, headers, times)
        self.shared &= new.joinable  # what the 304 says may be for one reader alone
        self._finish(Fetched(new, CONFIRMED))
        return True

    def _asks_at(self) -> float:
        """When the request goes out, epoch seconds."""
        return self._clock()

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

    async def _gather(self, answer: Answer, times: policy.Times) -> None:
        parts = answer.parts()
        if NEXT_OFFSET in answer.headers:
            await self._begin(parts)
        begin = self.body.whole()
        cached = self._rules.apply(self.request, answer.status, answer.headers, times, begin)
        if cached.facts is not None and (doubt := self._doubt()) is not None:
            await doubt()
        too_long = cached.length is not None and cached.length > self._longest
        self.begun.set_result(cached)
        if too_long or not (cached.joinable and answer.complete_by_length):
            self._pass_on()
        self.check_wanted()
        async for part in parts:
            self.body.add(part)
            if self.body.size > self._longest:
                self._pass_on()
            await self.body.kept_up()
        if not self.fetched.done():
            self._finish(Fetched(cached.with_body(self.body.whole()), FETCHED))
            await asyncio.sleep(0)  # who has read to the end and comes back finds it kept
        self.body.end()

    async def _begin(self, parts: AsyncIterator[bytes]) -> None:
        """As much of the body as tells whether it is empty."""
        async for part in parts:
            self.body.add(part)
            if self.body.size > EMPTY_BYTES:
                break

    def _pass_on(self) -> None:
        """Let nobody join any more: the body goes to those who have begun to read it."""
        if not self.fetched.done():
            self.shared = False
            self.body.pass_on()
            self.fetched.set_result(None)
            self._tell_fetched()

    def _finish(self, fetched: Fetched) -> None:
        if not self.begun.done():
            self.begun.set_result(fetched.cached)
        self.fetched.set_result(fetched)
        self._tell_fetched()

    def _tell_fetched(self) -> None:
        if self.on_fetched is not None:
            self.on_fetched(self)

    def let_rest(self) -> None:
        """Leave the origin alone for a moment: it has failed to say whether `old` still stands."""
        if self.old is not None:
            self.old.rests_until = self._clock() + REST_S

    def fail(self, error: HeadgateError) -> None:
        """Tell those who wait that there is nothing more to come, unless they have it all."""
        if not self.begun.done():
            self.begun.set_exception(error)
        if not self.fetched.done():
            self.fetched.set_exception(error)
            self._tell_fetched()
        if self._body is not None:
            self._body.fail(error)
