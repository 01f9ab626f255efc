"""Answer cached reads, and park long-polls, without a handler.

Each method returns False for a request that it does not answer. A handler then answers it with the
same bytes.
"""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headgate_gateway.errors import HeadgateError
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.protocol.http.paths import canonical_target, split
from headgate_gateway.protocol.requests import LongPoll
from headgate_gateway.routes.contract import ParsedPoll
from headgate_gateway.runtime.loudest import OTHERS, REFUSED, SENT
from headgate_gateway.runtime.request_fields import NOTHING, OWN_FIELDS, RequestFields
from headgate_gateway.runtime.shedding import LIVE
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.telemetry.access_log import Outcome
from headgate_gateway.web.admission import ShortAdmission
from headgate_gateway.web.connections.parked_poll import ParkedPoll
from headgate_gateway.web.requests.blocks import (
    FOR_PROXIES,
    MOST_BLOCKS,
    AgingTable,
    Blocks,
    KnownRequest,
    own_of,
)
from headgate_gateway.web.requests.exchange import logged_as
from headgate_gateway.web.requests.responses import JOINED_BYTES
from headgate_gateway.web.server_spans import ServerSpans

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from headgate_gateway.routes.contract import CachedAnswer, PlainGet
    from headgate_gateway.routes.services import Services
    from headgate_gateway.runtime.request_fields import Own
    from headgate_gateway.web.asks.plans import Plans
    from headgate_gateway.web.requests.request import ClientConnection

REMEMBERED_POLLS = 4096  # targets of long-polls: a thousand viewers of a stream send the same few
# Of each of two tables, with what was parsed from them 32 MB at worst; as many as blocks.
REMEMBERED_HEADS = MOST_BLOCKS
REMEMBERED_BYTES = 1024  # the longest head that is remembered; browsers send about 700
# A JWT needs more. A digest of 16 bytes stands for such a head.
REMEMBERED_WITH_TOKEN = 4096
UNMEASURED = 15  # of 16 cached answers: reading the clock costs as much as five counters


class FastPath:
    """The memory of parsed requests by which cached reads are answered and long-polls parked."""

    def __init__(self, plans: Plans, services: Services) -> None:
        self.plans = plans
        self._routes = routes = plans.router
        self._services = services
        self._spans = None if services.tracer is None else ServerSpans(services.tracer, routes)
        self._unmeasured = 0 if services.log.enabled else UNMEASURED
        self._identities = [IdentityHeaders(), *(route.identity for route in routes)]
        self._poll = lru_cache(REMEMBERED_POLLS)(self._parse_poll)
        self.answered = 0
        self._counted = services.loudest.counted
        # By their bytes without their own fields: reads, and long-polls, whose offset each message
        # changes. If they have a token, by a digest.
        self.heads: AgingTable[bytes, PlainGet] = AgingTable(REMEMBERED_HEADS)
        self.admission = ShortAdmission(routes, services.clock)
        is_guarded = self.admission.is_guarded
        self._find_head = self._find_admitted if is_guarded else self.heads.find
        self.blocks = Blocks(self._is_identity, is_keyed=is_guarded)

    def _is_identity(self, name: str) -> bool:
        """Return whether a route reads or drops a field because it identifies the reader."""
        return any(
            identity.has(name) or name.lower() in identity.dropped for identity in self._identities
        )

    def known(self, head: bytes) -> tuple[PlainGet, Own] | None:
        """Return the read parsed earlier from an equal head, and the own fields of this one.

        Return None if there is none, or if its credential has ended.
        """
        if len(head) > REMEMBERED_WITH_TOKEN:
            return None
        get = self._find_head(head)
        if get is not None:
            return get, NOTHING
        pared = self.blocks.pared(head) if head.endswith(b"\r\n\r\n") else None
        if pared is None or not pared[1]:
            return None
        own = own_of(pared[1])
        get = None if own.length else self._find_head(pared[0])
        return None if get is None else (get, own)

    def _find_admitted(self, head: bytes) -> PlainGet | None:
        """Return the read of a head, by its bytes or by their digest."""
        get = self.heads.find(head)
        if get is not None:
            return get
        digest = self.blocks.named(head)
        get = self.heads.find(digest)
        if get is None or self._still_admits(get):
            return get
        self.heads.drop(digest)
        return None

    def _remember(
        self, head: bytes, headers: MultiMapping[str], get: PlainGet, own: Own = NOTHING
    ) -> None:
        """Remember what was parsed from a GET that was answered here and may come again.

        It is remembered without its `own` fields, which `headers` lacks. A request with a field by
        which a route identifies its reader is not remembered.
        """
        if own.fields:
            pared = self.blocks.pared(head)
            assert pared is not None, "so its own fields were found"
            head = pared[0]
        principal = get.principal
        longest = REMEMBERED_BYTES if principal is None else REMEMBERED_WITH_TOKEN
        if len(head) > longest or any(map(headers.__contains__, OWN_FIELDS)):
            return  # it would not come again
        if FOR_PROXIES in headers:
            return
        fields = headers if principal is None else get.headers
        if any(identity.identifies(fields) for identity in self._identities):
            return
        self.heads.add(head if principal is None else self.blocks.named(head), get)

    def remember_block(self, data: bytes, message: RawRequestMessage, size: int) -> None:
        """Remember the parsed fields of a whole request to a host that is served.

        Fields with a token are remembered without it.
        """
        fields = self.admission.fields(message) if self.admission.is_guarded else None
        if fields is None:
            fields = RequestFields(message.headers, are_known=True)
        if not any(identity.identifies(fields.headers) for identity in self._identities):
            self.blocks.remember(data, message, size, fields)

    def answer_get(
        self,
        client: ClientConnection,
        head: bytes | None,
        message: RawRequestMessage | KnownRequest,
    ) -> bool:
        """Answer a GET from the cache, or park it as a long-poll.

        `head` holds the bytes that the message was parsed from, and is remembered. It is None if
        the head did not come in one piece.
        """
        own = message.own if isinstance(message, KnownRequest) else NOTHING
        headers = message.headers
        # A plain read has none of these, on which its response depends.
        if (
            "If-None-Match" in headers
            or "If-Range" in headers
            or "X-Request-Id" in headers
            or ("Origin" in headers and not self._services.lines.any_origin)
        ):
            return False
        # Where a route has a guard, `get` lacks the credential that the guard has checked.
        get = self.admission.get(message)
        if get is None:
            return False
        if self.answer(client, get, own):
            if head is not None:
                self._remember(head, message.headers, get, own)
            return True
        if own.fields or get.is_last or "live=long-poll" not in get.target:
            return False
        return self._poll_waits(client, get, head, message)

    def _still_admits(self, get: PlainGet) -> bool:
        """Return whether the credential of a remembered read is still good; note its use."""
        principal = get.principal
        if principal is None:
            return True
        now = self._services.clock()
        if principal.until <= now:
            return False
        principal.use.at = now
        return True

    def _poll_waits(
        self,
        client: ClientConnection,
        get: PlainGet,
        head: bytes | None,
        message: RawRequestMessage | KnownRequest,
    ) -> bool:
        bans = self._services.bans
        if bans.in_force and bans.bans_kind(get, client.wire.peer, client.wire.transport):
            return False
        if not self._park(client, get):
            return False
        if head is not None:
            self._remember(head, message.headers, replace(get, is_poll=True))
        return True

    def answer(self, client: ClientConnection, get: PlainGet, own: Own = NOTHING) -> bool:
        """Answer a request from the cache, with its `own` values, or park it.

        A request remembered as a long-poll is parked if that is possible.
        """
        bans = self._services.bans
        if bans.in_force and bans.bans_kind(get, client.wire.peer, client.wire.transport):
            return False
        if own.has_more and self._spans is not None:  # they may have the client's trace
            return False
        if get.is_poll and not own.fields and self._park(client, get):
            return True
        answer = self._cached_response(get, client, own)
        if answer is None:
            return False
        _, head, body, _ = answer
        if client.wire.transport is None:
            return True
        if len(body) <= JOINED_BYTES:
            client.wire.transport.write(head + body)
        else:
            client.wire.transport.writelines((head, body))
        return True

    def _cached_response(
        self, get: PlainGet, client: ClientConnection, own: Own
    ) -> CachedAnswer | None:
        """Return the cached response to a GET, whose body is the cache's own bytes.

        It is counted, logged and traced as a sent response.
        """
        began = 0.0 if self.answered & self._unmeasured else perf_counter()
        now = self._services.clock()
        answer = get.route.cached_answer(self._services, get, own, now)
        if answer is None:
            return None
        status, _, body, hits = answer
        if status == 404 and get.route.access.conceals:
            return None
        size = len(body)
        self.answered += 1
        hits.count += 1
        hits.bytes += size
        hits.unchanged += status == 304
        if get.principal is not None:
            get.principal.use.count(size)
        counts = self._counted[client.wire.peer, get, get.path]
        counts[OTHERS] += 1
        counts[REFUSED] += status >= 400
        counts[SENT] += size
        if self._spans is not None:
            self._spans.cached(get, client.wire.transport, status, now)
        if began:
            hits.measured(perf_counter() - began)
            if self._services.log.enabled:
                self._log(get, own, answer, client, began)
        return answer

    def _log(
        self, get: PlainGet, own: Own, answer: CachedAnswer, client: ClientConnection, began: float
    ) -> None:
        """Write the log line of a cached answer: an Exchange would take longer than the line."""
        services, principal = self._services, get.principal
        outcome = Outcome(
            own.id or services.lines.new_request_id(),
            answer[0],
            len(answer[2]),
            perf_counter() - began,
            "HIT",
            get.route.prefix,
            "answered",
            None if principal is None else principal.name,
        )
        request = logged_as("GET", get.target, get.headers, client.wire.transport, services)
        services.log.line(request, outcome)

    def _park(self, client: ClientConnection, get: PlainGet) -> bool:
        """Return whether a long-poll was parked or answered; count it then."""
        services = self._services
        if services.log.enabled or self._spans is not None:
            return False
        is_refused = services.limits.reader_slots <= 0 or services.shedding.level >= LIVE
        poll = None if is_refused else self._poll(get.target)
        if poll is None:
            return False
        route = poll.route
        if not route.park(ParkedPoll(client, get.principal, get), poll, get.headers):
            return False
        if services.clock() >= poll.long_over_at:
            route.traffic.cursor_regressions += 1
        if route.access.guard is not None:
            route.traffic.decisions[counted.ADMITTED] += 1
        return True

    def _parse_poll(self, target: str) -> ParsedPoll | None:
        """Parse a target as a long-poll; return None for any other."""
        try:
            target = canonical_target(target)
            route, name = self._routes.find(split(target)[0])
            read = route.parse(target)
        except HeadgateError:
            return None
        # A target with a reader key is not remembered, since the key changes.
        if not isinstance(read, LongPoll) or read.reader_key:
            return None
        return ParsedPoll(route, name, read)
