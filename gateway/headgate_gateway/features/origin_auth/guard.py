"""The guard of a route whose origin decides who may read: its permissions are remembered.

Writes, and reads of what is not cached, reach the origin with the client's own credentials, so it
decides on each of them. Before a cached response or a feed is served, the origin is asked with a
HEAD of the stream, at most once in `ttl_s` seconds for each reader.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from functools import partial
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from multidict import CIMultiDict
from typing_extensions import override

from headgate_gateway.access.contract import Guard
from headgate_gateway.access.operations import READ, Grant
from headgate_gateway.access.principal import Principal
from headgate_gateway.background import Background
from headgate_gateway.edge.followed.origin_reads import PASSING
from headgate_gateway.edge.origin_requests import REFUSALS
from headgate_gateway.errors import (
    OF_THE_ORIGIN,
    Forbidden,
    HeadgateError,
    LimitReached,
    OriginBroken,
    OriginBusy,
    OriginUnreachable,
    StreamGone,
    StreamNotFound,
    Unauthenticated,
)
from headgate_gateway.rules.directives import again_s
from headgate_gateway.runtime.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from multidict import MultiMapping

    from headgate_gateway.access.operations import Need
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.protocol.http.forwarding import IdentityHeaders
    from headgate_gateway.rules.cached_response import CacheRequest

    # Returns the plain read of a stream with the credentials in these headers and this token.
    Reads = Callable[[MultiMapping[str], str | None, Need], CacheRequest]

REMEMBERED = 65_536  # permissions, each of a reader for a stream, 200 B each: 13 MB
# Permissions of waiting readers that are renewed at a time, so that many which expire together
# leave the origin, and max_origin_requests, to other requests.
MOST_RENEWALS = 32
LONGEST_MARGIN_S = 5.0  # a permission is renewed at most so long before it expires
_NO_HEAD = frozenset({405, 501})
_ABSENT: dict[int, type[HeadgateError]] = {404: StreamNotFound, 410: StreamGone}


class GuardTimes(NamedTuple):
    """The lifetime of a permission, and the longest wait of a reader for news, in seconds."""

    ttl: float
    wait: float


class AdmittedReader(Principal):
    """A reader whom the origin lets read one stream; `request` has the reader's credentials.

    The reader came last at `seen` (epoch seconds).
    """

    __slots__ = ("request", "seen")

    def __init__(self, request: CacheRequest, until: float) -> None:
        grants = [Grant(request.path, READ)]
        super().__init__("", grants, until, digest=request.admitted_as.encode())
        self.request = request
        self.seen = 0.0


class OriginGuard(Background, Guard):
    """A guard that asks the origin by a HEAD whether a client may read a stream.

    `on_end` is called with each reader whom the origin lets read no more. The permission of a
    reader that waits for news, which takes no longer than `times.wait`, is renewed in time while
    its principal is in use. `results` counts the answers: yes, no, and failed if there was none.
    """

    needs_query = True
    delegation = "auth = origin; its yes would count for auth_ttl"

    def __init__(
        self,
        send_head: Callable[[CacheRequest], Awaitable[OriginAnswer]],
        reads: Reads,
        identity: IdentityHeaders,
        times: GuardTimes,
        clock: Callable[[], float],
        on_end: Callable[[Principal], None],
    ) -> None:
        self._send_head = send_head
        self._reads = reads
        self._identity = identity
        self._ttl_s, self._wait_s = times
        self._margin_s = min(times.ttl / 5, LONGEST_MARGIN_S)
        self._clock = clock
        self.on_end = on_end
        self._until: OrderedDict[str, float] = OrderedDict()
        self._held: WeakValueDictionary[str, AdmittedReader] = WeakValueDictionary()
        self._questions: SingleFlight[float] = SingleFlight()
        self._renewals: set[asyncio.Task[None]] = set()
        # The principal of all writes: the origin decides when it gets the write itself.
        self._anybody = Principal("", [], inf)
        self.results = {"yes": 0, "no": 0, "failed": 0}

    @property
    def permission_count(self) -> int:
        """The number of permissions that are remembered, at most REMEMBERED."""
        return len(self._until)

    @override
    def known_principal(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal | None:
        if not needs:
            return None  # who somebody is depends on the stream
        if any(need.operations != READ for need in needs):
            return self._anybody
        request = self._reads(headers, token, needs[0])
        until = self._until.get(request.admitted_as, 0.0)
        if until <= now:
            return None
        self._until.move_to_end(request.admitted_as)
        return self._reader(request, until, now)

    @override
    async def admit(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal:
        """Return the principal. Raises the origin's refusal, or why the origin cannot decide."""
        principal = self.known_principal(headers, token, needs, now)
        if principal is not None:
            return principal
        request = self._reads(headers, token, needs[0])
        return self._reader(request, await self._permission_until(request), now)

    @override
    @staticmethod
    def still_admits(*_: object) -> bool:
        return False  # an admission to one stream says nothing of another one

    @override
    @staticmethod
    def has_decided(cache_result: str) -> bool:
        return cache_result != "COLLAPSED"  # it was answered to this reader alone

    @override
    def stripped(self, headers: MultiMapping[str]) -> CIMultiDict[str]:
        return CIMultiDict(
            (name, value) for name, value in headers.items() if not self._identity.has(name)
        )

    def note_status(self, name: str, status: int) -> None:
        """Withdraw a reader's permission if `status` is a refusal; `name` is the reader's hash."""
        if status in REFUSALS:
            self._withdraw(name)

    def note_refused_write(self, name: str) -> None:
        """Ask anew whether a reader may read: the origin has refused its client a write."""
        self._until.pop(name, None)
        reader = self._held.get(name)
        if reader is None:
            return
        if len(self._renewals) < MOST_RENEWALS:
            self._start_renewal(reader)
        else:
            self._withdraw(name)

    def _withdraw(self, name: str) -> None:
        """Forget the permission of a refused reader, and end its principal."""
        self._until.pop(name, None)
        reader = self._held.pop(name, None)
        if reader is not None:
            reader.until = 0.0
            self.on_end(reader)

    def _reader(self, request: CacheRequest, until: float, now: float) -> AdmittedReader:
        reader = self._held.get(request.admitted_as)
        if reader is None:
            reader = self._held[request.admitted_as] = AdmittedReader(request, until)
        reader.seen = now
        return reader

    async def _permission_until(self, request: CacheRequest) -> float:
        """Return when the permission for a read expires; equal questions share one HEAD."""
        return await self._questions.read(request.admitted_as, partial(self._query_origin, request))

    async def _query_origin(self, request: CacheRequest) -> float:
        sent_at = self._clock()
        try:
            answer = await self._send_head(request)
            answer.release()
        except (LimitReached, *OF_THE_ORIGIN) as error:
            self.results["failed"] += 1
            if isinstance(error, LimitReached):
                raise
            detail = f"it is not known who may read this: {error.detail}"
            if isinstance(error, OriginUnreachable):
                raise OriginUnreachable(detail) from error
            raise OriginBusy(detail) from error
        refusal = _refusal(answer.status, answer.headers)
        if isinstance(refusal, OriginBusy | OriginBroken):
            self.results["failed"] += 1
            raise refusal
        if refusal is not None:
            self.results["no"] += 1
            self._withdraw(request.admitted_as)
            raise refusal
        name, history = request.admitted_as, answer.history
        if history is not None and not history.note(name, partial(self._until.pop, name, 0.0)):
            self.results["failed"] += 1
            raise OriginBroken("the origin's answer may have been to another request")
        self.results["yes"] += 1
        self._remember(request.admitted_as, sent_at + self._ttl_s)
        return sent_at + self._ttl_s

    def _remember(self, name: str, until: float) -> None:
        self._until[name] = until
        self._until.move_to_end(name)
        if len(self._until) > REMEMBERED:
            self._until.popitem(last=False)
        reader = self._held.get(name)
        if reader is not None:
            reader.until = until

    # Readers that wait for news

    @override
    async def _run(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._margin_s / 4)
                self._renew(self._clock())
        finally:
            for task in self._renewals:
                task.cancel()

    def _renew(self, now: float) -> None:
        """Renew the permissions of waiting readers that expire soon."""
        due = [
            reader
            for reader in self._held.values()
            if now < reader.until <= now + self._margin_s
            and now < reader.seen + self._wait_s
            and reader.request.admitted_as not in self._questions.under_way
        ]
        due.sort(key=attrgetter("until"))
        for reader in due[: MOST_RENEWALS - len(self._renewals)]:
            self._start_renewal(reader)

    def _start_renewal(self, reader: AdmittedReader) -> None:
        task = asyncio.get_running_loop().create_task(self._renew_one(reader.request))
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _renew_one(self, request: CacheRequest) -> None:
        with contextlib.suppress(HeadgateError):  # the result is recorded already
            await self._permission_until(request)


def _refusal(status: int, headers: MultiMapping[str]) -> HeadgateError | None:
    """Return the error that the origin's response to a HEAD means for a reader, or None."""
    if 200 <= status < 300:
        return None
    says = f"the origin answers a HEAD of the stream with {status}"
    if status == 401:
        challenge = ", ".join(headers.getall("WWW-Authenticate", ()))
        return Unauthenticated(says, challenge=challenge)
    if status in _NO_HEAD:
        return OriginBroken(f"{says}, by which it is asked who may read")
    if status >= 500 or status in PASSING:
        return OriginBusy(says, again_s(headers))
    return _ABSENT.get(status, Forbidden)(says)
