"""What an origin is asked to tell what follows in a stream, and what its answers mean.

A question takes one request, as a rule; so it is written as steps: a generator gives out the
request to be made, and is sent the answer, or the error instead. Who makes them is `following`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from multidict import CIMultiDict

from gateway.cache import sharing, tails
from gateway.cache.replica_lag import ANOTHER_STREAM, PERSISTS_S
from gateway.edge.follower import CannotFollow, Polled, Question, refuse
from gateway.edge.lenders import DENIALS
from gateway.edge.snapshots import ONES_OWN
from gateway.errors import OriginBehind, OriginBroken, OriginBusy, StreamGone
from gateway.protocol import edge_target, followed, repair
from gateway.protocol.header_names import CLOSED, CURSOR, NEXT_OFFSET, UP_TO_DATE
from gateway.protocol.offsets import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeAlias

    from multidict import MultiMapping

    from gateway.cache.cached_response import CacheRequest
    from gateway.edge.lenders import Lenders
    from gateway.edge.recent_window import RecentWindow
    from gateway.origin.client import Origin
    from gateway.protocol.followed import Span
    from gateway.protocol.identity import IdentityHeaders

    Steps: TypeAlias = "Generator[PollerRequest, Heard, Polled]"


ANSWERS = frozenset({200, 204})  # whose bodies are read


class PolledOrigin(NamedTuple):
    """The origin of a route, and how its cache directives are taken; `tail_max_age` in seconds."""

    client: Origin
    identity: IdentityHeaders
    ignores_no_store: bool
    tail_max_age: int


class PollerRequest(NamedTuple):
    """A GET of this target in the name of a reader; one that `waits` is a long-poll."""

    reader: CacheRequest
    target: str
    waits: bool


class Heard(Protocol):
    """An answer of the origin; the body of one that is refused may be missing."""

    @property
    def status(self) -> int:
        """Its status."""

    @property
    def body(self) -> bytes:
        """Its body."""

    @property
    def headers(self) -> MultiMapping[str]:
        """Its fields."""


class Poller:
    """Asks for one followed stream, with one request after the other.

    `tell_directives` is told what the origin says to caches of reads that reach the tail.
    """

    def __init__(
        self,
        origin: PolledOrigin,
        lenders: Lenders,
        content_type: str,
        window: RecentWindow,
        tell_directives: Callable[[str], None],
    ) -> None:
        self._origin = origin
        self._lenders = lenders
        self._content_type = content_type
        self._window = window
        self._tell_directives = tell_directives
        self._doubted_at: float | None = None  # loop time

    @property
    def is_in_doubt(self) -> bool:
        """Whether the origin has told of a shorter stream, which may be another one."""
        return self._doubted_at is not None

    def doubt(self) -> None:
        """Join nothing with what is known before that was compared with what the origin has."""
        if self._doubted_at is None:
            self._doubted_at = asyncio.get_running_loop().time()

    def ask(self, question: Question) -> Steps:
        """The answer, with what follows it where that is the rest of a character.

        Raises CannotFollow, or the HeadgateError of a failure that may pass.
        """
        polled = yield from self._asked(question)
        for _ in range(followed.MOST_JOINED):
            if polled.caught_up or not followed.is_cut(polled.content_type, polled.body):
                break
            more = yield from self._asked(Question(polled.end, polled.cursor, waits=False))
            polled = more._replace(
                body=polled.body + more.body,
                content_type=polled.content_type,
                said=polled.said if more.said is None else more.said,
            )
        return polled

    def _asked(self, question: Question) -> Steps:
        if self._doubted_at is not None and self._window.last is not None:
            yield from self._dispel(self._window.last)
        polled = yield from self._fetched(question)
        if question.waits and polled.end != question.start and polled.brings_nothing:
            # What came between the end of the origin's wait and its answer is told of, not in it.
            polled = yield from self._fetched(question._replace(waits=False))
        self._doubted_at = None
        return polled

    def _dispel(self, last: Span) -> Generator[PollerRequest, Heard, None]:
        """Go on only when the latest news are still what was told of them."""
        again = yield from self._fetched(Question(last.start, None, waits=False))
        if again.end < last.end:
            raise self._behind()
        if not self._window.agrees(again.body):
            raise CannotFollow(StreamGone(ANOTHER_STREAM))

    def _behind(self) -> Exception:
        """What a shorter stream at the origin means: at first that it may only lag."""
        now = asyncio.get_running_loop().time()
        if self._doubted_at is None:
            self._doubted_at = now
        if now - self._doubted_at >= PERSISTS_S:
            return CannotFollow(StreamGone(ANOTHER_STREAM))
        return OriginBehind("the origin tells of a stream that ends before what it told of")

    def _fetched(self, question: Question) -> Steps:
        """The answer, in the name of whichever reader the origin lets read."""
        while True:
            request = self._lenders.request
            read, start = request.read, question.start
            target = (
                edge_target.poll_target(read, start, question.cursor)
                if question.waits
                else edge_target.catch_up(read, start).target
            )
            answer = yield PollerRequest(request, target, question.waits)
            if answer.status in DENIALS and self._lenders.replace(request):
                continue
            if answer.status not in ANSWERS:
                refuse(answer.status, answer.headers)
            return self._polled(question, answer.status, answer.headers, answer.body)

    def _polled(
        self, question: Question, status: int, headers: MultiMapping[str], body: bytes
    ) -> Polled:
        nothing = status == 204
        content_type = "" if nothing else headers.get("Content-Type", "")
        end = headers.get(NEXT_OFFSET, question.start if nothing else "")
        if not is_plain(end) or "Content-Encoding" in headers:
            raise OriginBroken("the origin's answer to a long-poll is none of the protocol")
        if content_type and not followed.is_of_type(content_type, self._content_type):
            raise CannotFollow(StreamGone(ANOTHER_STREAM))
        if not followed.is_whole(content_type, body):
            raise OriginBroken("the origin's answer to a read of a JSON stream is no array")
        try:
            repair.check_end(question.start, end)
        except OriginBehind:
            raise self._behind() from None
        is_nothing = repair.is_nothing(content_type, body)
        if not is_nothing and self._is_ones_own(headers):
            self._lenders.are_apart = True
            raise CannotFollow(OriginBusy(ONES_OWN))
        said = None if is_nothing else self._said(headers)
        caught_up = nothing or repair.is_true(headers, UP_TO_DATE)
        if said is not None and caught_up and not question.waits:
            shortened = CIMultiDict(headers)
            tails.shorten(shortened, self._origin.tail_max_age)
            self._tell_directives(self._said(shortened))
        return Polled(
            end,
            headers.get(CURSOR),
            body,
            content_type,
            repair.is_true(headers, CLOSED),
            caught_up,
            said if question.waits else None,
            repair.cors(headers),
        )

    def _is_ones_own(self, headers: MultiMapping[str]) -> bool:
        """Whether the news are for the reader in whose name they came, and not for the others."""
        return bool(self._lenders.request.admitted_as) and sharing.is_ones_own(
            200, headers, self._origin.identity, ignore_no_store=self._origin.ignores_no_store
        )

    def _said(self, headers: MultiMapping[str]) -> str:
        request = self._lenders.request
        ignore = self._origin.ignores_no_store and not request.identified
        return repair.said(headers, ignore_no_store=ignore)
