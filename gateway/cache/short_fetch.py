"""A GET at an origin that begins and ends without a task, for those who wait without one.

A task, its futures, timers and shields take a quarter of the time of a miss, for an answer that
comes as one piece after a millisecond. So whoever waits here is called: with the answer, when it is
whole; else he is told to go on in a task, as does the fetch (SharedFetch.run), which has its begun
answer already. A task may join it, as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from gateway.cache import policy
from gateway.cache.fetch import FETCHED, NOBODY, NOT_ASKED_FOR, UNUSABLE, Fetched, SharedFetch
from gateway.errors import HeadgateError, OriginBehind, OriginBroken, StreamGone
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.cache.cached_response import CachedResponse, CacheRequest
    from gateway.cache.fetch import Answer
    from gateway.cache.judged_heads import JudgedHeads
    from gateway.cache.variants import Variant
    from gateway.origin.whole_answer import Asked, WholeAnswer

W = TypeVar("W")  # one who waits


class Carrier(Protocol, Generic[W]):
    """Who has it carried out without a task."""

    heads: JudgedHeads
    clock: Callable[[], float]

    def tell(self, fetch: ShortFetch[W], /) -> None:
        """It is known what its waiters are to be told."""

    def go_on(self, fetch: ShortFetch[W], answer: Answer, /) -> None:
        """A task has to carry it out from here on."""


class ShortFetch(SharedFetch, Generic[W]):
    """One for `waiters`, whom its carrier tells."""

    asked: Asked | None = None  # while the origin has not begun to answer
    _is_in_task = False

    def __init__(
        self,
        key: Hashable,
        request: CacheRequest,
        old: Variant | None,
        carrier: Carrier[W],
        longest: int,
    ) -> None:
        super().__init__(key, request, old, carrier.heads.rules, carrier.clock, longest)
        self.waiters: list[W] = []
        self._carrier = carrier
        self._asked_at: float | None = carrier.clock()

    @property
    def is_left(self) -> bool:
        """As of any fetch."""
        return self.given_up or super().is_left

    def leave_short(self, waiter: W) -> None:
        """One who waits without a task wants it no more."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
            self.check_wanted()

    def check_wanted(self) -> None:
        """End it when nobody waits for it any more, in a task or without one."""
        if self.asked is None:
            super().check_wanted()
        elif not (self.waiters or self.is_read or self.is_wanted):
            self.given_up = True
            self.asked.abandon()
            self.asked = None
            self.fail(OriginBroken(NOBODY))
            self._carrier.tell(self)

    def _asks_at(self) -> float:
        """Of the first request, when it went out without a task."""
        at, self._asked_at = self._asked_at, None
        return super()._asks_at() if at is None else at

    # Of an Asker

    def answered(self, answer: WholeAnswer) -> None:
        """Judge the answer, keep it, and tell those who wait."""
        self.asked, self.history = None, answer.history
        try:
            if not self._take(answer):
                self._goes_on(answer)
                return
        except HeadgateError as error:
            self._fail_for(error)
        except Exception:  # noqa: BLE001 - those who wait get an answer, and we a log line
            log.exception("origin.answer_unusable", target=self.request.path)
            self.fail(OriginBroken(UNUSABLE))
        self._carrier.tell(self)

    def _take(self, answer: WholeAnswer) -> bool:
        """Whether that could be done here."""
        status, old, self.server = answer.status, self.old, answer.server
        if status == 304 and old is not None and old.cached.validators:
            return self._take_confirmed(old.cached, answer)
        if status != 200 and (status in NOT_ASKED_FOR or policy.is_error(status)):
            return False
        if status == 200 and self._doubt() is not None:
            return False  # a task waits for it
        body, times = answer.body, policy.Times(self._asks_at(), self._clock())
        cached = self._carrier.heads.judge(self.request, answer, times)
        if cached.joinable and len(body) <= self._longest:
            self.told = Fetched(cached.with_body(body), FETCHED)
            self._finish(self.told)
        else:
            self.told = Fetched(msgspec.structs.replace(cached, body=body), FETCHED)
            self.begun.set_result(cached)
            self._pass_on()
        return True

    def _take_confirmed(self, old: CachedResponse, answer: WholeAnswer) -> bool:
        times = policy.Times(self._asks_at(), self._clock())
        if not self._confirm(old, answer.headers, times):
            return False
        self.told = self.fetched.result()
        return True

    def began(self, answer: Answer) -> None:
        """Take the rest of a long answer in a task."""
        self._goes_on(answer)

    def failed(self, error: HeadgateError) -> None:
        """Let what is kept stand in, or tell those who wait."""
        self.asked = None
        # Else it has come, or a task sees to it, but that could not be told.
        if not (self.fetched.done() or self._is_in_task):
            self._fail_for(error)
        self._carrier.tell(self)

    def _fail_for(self, error: HeadgateError) -> None:
        if isinstance(error, StreamGone | OriginBehind) or not self._stand_in():
            self.fail(error)
        else:
            self.told = self.fetched.result()

    def _goes_on(self, answer: Answer) -> None:
        self.asked = None
        self._carrier.go_on(self, answer)
        self._is_in_task = True
        self._carrier.tell(self)
