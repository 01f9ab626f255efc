"""The counts of a request and its line in the access log, from its head to its end.

The labels of a request are determined here. `telemetry.traffic` counts them, and
`telemetry.traffic_metrics` declares them. A request without a handler is counted where it is
answered: in `Ask.answered`, or by `Hits` in `FastPath.cached_response`.
"""

from __future__ import annotations

import re
from time import perf_counter
from typing import TYPE_CHECKING

from aiohttp import hdrs

from headgate_gateway.access.credentials import without_secrets
from headgate_gateway.errors import (
    BadRequest,
    ClientLimitReached,
    LimitReached,
    NotOffered,
    ServerStopping,
)
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.rules.repair import EMPTY_BYTES
from headgate_gateway.runtime.loudest import APPENDS, NO_STREAM, OTHERS, RECEIVED, REFUSED, SENT
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.telemetry.access_log import LoggedRequest, Outcome

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from multidict import MultiMapping

    from headgate_gateway.access.principal import Principal
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.services import Services
    from headgate_gateway.runtime.loudest import Loudest
    from headgate_gateway.telemetry.access_log import AccessLog
    from headgate_gateway.telemetry.traffic import Ended, Traffic
    from headgate_gateway.web.requests.responses import WireResponse

# Reads refused with these errors do not count for the hit ratio of the cache.
NOT_LOOKED_UP = (BadRequest, ClientLimitReached, LimitReached, NotOffered, ServerStopping)

OPERATIONS = {
    "GET": counted.READ,
    "HEAD": counted.HEAD,
    "POST": counted.APPEND,
    "PUT": counted.CREATE,
    "DELETE": counted.DELETE,
    "OPTIONS": counted.OPTIONS,
}


_READS = frozenset({counted.READ, counted.LONG_POLL, counted.SSE})
_APPENDS = frozenset({counted.APPEND, counted.CLOSE})
# The label of a read, by its X-Cache.
RESULTS = {name.upper(): result for result, name in enumerate(counted.RESULTS)}
CLIENT_GONE = 499  # the status that proxies log for a client that has disconnected


class Exchange:
    """A request's state for counts and log; it counts for `route` once that is found.

    `cache` is the part of the cache in the response, and `ended` what has ended a wait for it.
    """

    __slots__ = (
        *("_began", "_is_over", "_new_id", "_request_id", "client_request_id", "resume_kind"),
        "ends_if_empty",
        *("cache", "decide_again", "ended", "is_looked_up"),
        *("logged_request", "operation", "principal", "refused", "route"),
        *("client", "path", "sends_reader_key", "sent", "traffic"),
    )

    def __init__(
        self,
        traffic: Traffic,
        operation: int,
        client_request_id: str | None,
        new_id: Callable[[], str],
        logged_request: LoggedRequest | None = None,
        began: float | None = None,
    ) -> None:
        """Begin with the client's id for the request, if it has sent one.

        The request `began` (perf_counter) now by default.
        """
        self._began = perf_counter() if began is None else began
        self.traffic = traffic
        self.route: StreamRoute | None = None
        self.path = NO_STREAM
        # Where its client is counted, with its address and agent.
        self.client: tuple[Loudest, str | None, str | None] | None = None
        self.principal: Principal | None = None  # the client that a guard has identified, if any
        self.refused: str | None = None
        self.operation = operation
        self.resume_kind = counted.NOWHERE
        self.ends_if_empty = False  # True if the body, still to come, shows where the read began
        self.client_request_id = client_request_id
        self.logged_request = logged_request
        self.cache = cache_status.UNUSED
        self.sends_reader_key = False  # True if the client may read the stream
        self.is_looked_up = True  # False if it is refused as invalid, or by a limit
        self.sent: WireResponse | None = None
        self.ended: Ended = "answered"
        # Raises once the guard no longer admits the request. It gets the exchange as an argument:
        # if it held it, the token would stay in memory until garbage is collected.
        self.decide_again: Callable[[Exchange], Awaitable[None]] | None = None
        self._new_id = new_id
        self._request_id: str | None = None
        self._is_over = False

    @property
    def request_id(self) -> str:
        """The request id that the client has sent, or else a new one."""
        if self.client_request_id is not None:
            return self.client_request_id
        if self._request_id is None:
            self._request_id = self._new_id()
        return self._request_id

    @property
    def prefix(self) -> str:
        """The prefix of its route; empty without one."""
        return "" if self.route is None else self.route.prefix

    def admit(
        self,
        principal: Principal | None,
        *,
        sends_reader_key: bool,
        decide_again: Callable[[Exchange], Awaitable[None]] | None = None,
    ) -> None:
        """Count that the guard admitted the request; `decide_again` raises once it would not."""
        self.traffic.decisions[counted.ADMITTED] += 1
        self.principal = principal
        self.sends_reader_key = sends_reader_key
        self.decide_again = decide_again

    def refuse(self, reason: str) -> None:
        """Note why the guard refused the request, for the log: a code, and words for operators."""
        self.refused = reason
        self.is_looked_up = False

    def note_wait(self, ended: Ended = "answered") -> None:
        """Note that the request waits for a response that many share, or how the wait ended."""
        self.cache = cache_status.COLLAPSED
        self.ended = ended

    async def check_admission(self) -> None:
        """Raise the refusal if the guard no longer admits the request, whose body is awaited."""
        if self.decide_again is not None:
            await self.decide_again(self)

    def start_events(self) -> None:
        """Count the request now: its SSE response goes on, and the reader's end is logged."""
        self._is_over = True
        self._count(200, 0)

    def finish(self, received: int, log: AccessLog, *, stopping: bool) -> None:
        """Count the request, which is over and had `received` bytes of body, and write its line."""
        self.traffic.request_bytes += received
        if received and self.principal is not None:
            self.principal.use.received_bytes += received
        if self._is_over:
            return
        self._is_over = True
        sent = self.sent
        if sent is None or sent.ended is None:  # its client got no response
            self._count(counted.CUT, 0, received)
            self.write_line(log, CLIENT_GONE, "drain" if stopping else "client", 0)
        else:
            if self.ends_if_empty and sent.ended == "answered" and sent.body_sent <= EMPTY_BYTES:
                self.resume_kind = counted.TERMINAL
            self._count(sent.status, sent.body_sent, received)
            if self.logged_request is not None:
                ended = self.ended if sent.ended == "answered" else sent.ended
                self.write_line(log, sent.status, ended, sent.body_sent)

    def answered(self, log: AccessLog, status: int, ended: Ended, size: int) -> None:
        """Count the request, and write its line."""
        self._count(status, size)
        self.write_line(log, status, ended, size)

    def _count(self, status: int, size: int, received: int = 0) -> None:
        traffic, seconds = self.traffic, perf_counter() - self._began
        is_append, is_failure = self.operation in _APPENDS, 400 <= status < counted.CUT
        if self.client is not None:
            loudest, address, agent = self.client
            path = NO_STREAM if is_failure else self.path
            counts = loudest.counted[address, (self.principal, agent), path]
            counts[APPENDS if is_append else OTHERS] += 1
            counts[REFUSED] += is_failure
            counts[SENT] += size
            counts[RECEIVED] += received
        if self.principal is not None:
            self.principal.use.count(size, is_append=is_append, is_failure=is_failure)
        if self.operation not in _READS:
            traffic.answered(self.operation, status, size, seconds)
            return
        # A request that was cut off counts as a miss.
        result = None
        if self.is_looked_up:
            result = RESULTS.get(self.cache.result, counted.MISS)
        traffic.read(self.operation, status, size, seconds, self.resume_kind, result)

    def write_line(self, log: AccessLog, status: int, ended: Ended, size: int) -> None:
        """Write the line of the access log, if there is to be one."""
        if self.logged_request is not None:
            outcome = Outcome(
                self.request_id,
                status,
                size,
                perf_counter() - self._began,
                self.cache.result,
                self.prefix or "none",
                ended,
                None if self.principal is None else self.principal.name,
                self.refused,
            )
            log.line(self.logged_request, outcome)


_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def client_request_id(headers: MultiMapping[str]) -> str | None:
    """Return the client's X-Request-Id, or None if it has none that is safe in a log line."""
    request_id = headers.get("X-Request-Id", "")
    return request_id if _REQUEST_ID.fullmatch(request_id) else None


def logged_as(
    method: str,
    target: str,
    headers: MultiMapping[str],
    transport: asyncio.Transport | None,
    services: Services,
) -> LoggedRequest:
    """Return what an access log line says about a request with these; no secret of its target."""
    if services.lines.is_guarded:
        target = without_secrets(target)
    forwarded_for = headers.get(hdrs.X_FORWARDED_FOR) or headers.get(hdrs.FORWARDED)
    client = services.quotas.client_address(transport, headers)
    return LoggedRequest(method, target, client, forwarded_for, headers.get(hdrs.USER_AGENT))


def resumed(kind: int, answered: RouteAnswer) -> int | None:
    """Return where a read of this resume kind counts as begun, by its answer.

    It is NOWHERE if the answer shows no stream, and None if its body decides, which still comes.
    """
    status, facts = answered.status, answered.facts
    if status in {400, 410}:
        return counted.GAP if kind == counted.OFFSET else counted.NOWHERE
    if (status >= 300 and status != 304) or not facts.next_offset:
        return counted.NOWHERE  # the origin has no stream there, but something else
    if facts.is_end is None:
        return None
    return counted.TERMINAL if facts.is_end else kind
