"""The context that every route and connection of a process shares, and the hosts it serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any

import msgspec

from headgate_gateway.errors import MisdirectedRequest
from headgate_gateway.protocol import http1, responses
from headgate_gateway.protocol.cache_headers import PurgeTrust
from headgate_gateway.protocol.http import cache_status, forwarding
from headgate_gateway.runtime.loudest import OTHERS, SENT
from headgate_gateway.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from headgate_gateway.access.bans import Bans
    from headgate_gateway.access.principal import CredentialUses, Principal
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.live.admitted_readers import AdmittedReaders
    from headgate_gateway.live.contract import CountedReader, ReaderClient
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.purge.purges import Purges
    from headgate_gateway.runtime.common_headers import CommonHeaders
    from headgate_gateway.runtime.decoding_queue import DecodingQueue
    from headgate_gateway.runtime.limits import ServerLimits
    from headgate_gateway.runtime.loudest import Loudest
    from headgate_gateway.runtime.quotas import Quotas
    from headgate_gateway.runtime.shedding import Shedding
    from headgate_gateway.runtime.write_journal import Write, WriteJournal
    from headgate_gateway.store import Store
    from headgate_gateway.telemetry.access_log import AccessLog, NewestRefusals
    from headgate_gateway.telemetry.spans import Tracer


class Timeouts(msgspec.Struct):
    """Timeouts of a request: for its head, and between the parts of its body, in seconds.

    `body_rate` is the least of a body in bytes a second, once it has taken some seconds in all.
    `body` and `body_rate` also limit how slowly a client may receive a response. A reload changes
    `body`.
    """

    body: float
    header: float = 10.0  # on a bad line a head takes a second or two, or four with a lost packet
    body_rate: int = 100  # the slowest lines of telephones have ten times as much


class FrontCaches:
    """The caches in front of this server, and how they are purged."""

    def __init__(self) -> None:
        self._purges: Purges | None = None  # None before the start

    def purge_by(self, purges: Purges) -> None:
        """Send the next purges by `purges`, as the settings in force say."""
        self._purges = purges

    def purge(self, prefix: str, path: str) -> None:
        """Let the caches forget a stream of the route with this prefix, at a canonical path."""
        if self._purges is not None:
            self._purges.purge(prefix, path)

    def trust(self) -> PurgeTrust:
        """Return which of the caches carry purges out."""
        return PurgeTrust() if self._purges is None else self._purges.trust()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Services:
    """The parts of a process that all its routes and connections share; times in epoch seconds.

    They are made once. A reload changes `lines`, `log`, `timeouts`, `hosts`, `front_caches`, the
    limits and the rates in place.
    """

    clock: Callable[[], float]
    # Seconds of a clock that is never set: streams expire by it where `clock` may be set.
    running: Callable[[], float]
    scheme: str = forwarding.SCHEME  # of the listener without a proxy
    via: str  # our line in Via, unique for each process
    store: Store[Any]
    limits: ServerLimits
    decodings: DecodingQueue
    release_reader: Callable[[], None]  # that of `limits`: a feed calls it for each reader
    shedding: Shedding
    quotas: Quotas
    bans: Bans
    lines: CommonHeaders
    refusal_lines: bytes  # of refusals without a request
    log: AccessLog
    timeouts: Timeouts
    hosts: ServedHosts
    refusals: NewestRefusals
    credential_uses: CredentialUses
    loudest: Loudest
    admitted: AdmittedReaders
    front_caches: FrontCaches
    journal: WriteJournal | None = None  # None without other workers
    tracer: Tracer | None = None  # None if no spans are recorded
    console_mark: str = field(default="", repr=False)  # of the console's requests; "" for none
    unrouted: Traffic = field(default_factory=Traffic)  # of requests that fit no route
    # Requests of features, ended when their client's permission ends.
    held: set[Any] = field(default_factory=set)
    _again_s: Iterator[int] = field(default_factory=lambda: cycle(responses.RETRY_AFTER_S))

    def announce(self, write: Write) -> None:
        """Announce a write to the other workers before its answer is sent."""
        if self.journal is not None:
            self.journal.announce(write)

    def count_live(self, reader: CountedReader) -> None:
        """Count what a reader was sent since the last call for its client and its stream."""
        size, reader.counted_bytes = reader.sent_bytes - reader.counted_bytes, reader.sent_bytes
        if size:
            self.count_sent(reader.client, reader.principal, size)
            if reader.principal is not None:
                reader.principal.use.sent_bytes += size

    def count_sent(
        self, client: ReaderClient, principal: Principal | None, size: int, *, requests: int = 0
    ) -> None:
        """Count requests of a live reader, and bytes that it was sent."""
        counts = self.loudest.counted[client.address, (principal, client.user_agent), client.path]
        counts[OTHERS] += requests
        counts[SENT] += size

    def problem(self, error: HeadgateError) -> Response:
        """Return a refusal; clients refused together get different times to return."""
        self.limits.refused_by_rule(error)
        return responses.problem(error, next(self._again_s))

    def refusal(
        self,
        refusal: Response,
        *,
        connection: str | None = None,
        request_id: str = "",
        to_head: bool = False,
    ) -> bytes:
        """Return a refusal as bytes, with a new id unless there is a `request_id`."""
        request_id = request_id or self.lines.new_request_id()
        lines = self.lines.own(request_id=request_id, origin=None, connection=connection)
        lines, varies = lines + self.refusal_lines, self.lines.varies
        return http1.serialize(refusal, lines, varies=varies, to_head=to_head)

    def collapsed(self, response: Response) -> tuple[Response, bytes]:
        """Return a feed's response, and it as bytes for all readers with equal requests."""
        lines = self.lines.shared()
        if response.facts.has_cors:
            lines = self.lines.own(request_id=None, origin=None, connection=None, cors=False)
        lines, varies = lines + cache_status.COLLAPSED.lines, self.lines.varies
        return response, http1.serialize(response, lines, varies=varies)


# Names of this machine, which no other site can have.
_OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class ServedHosts:
    """The hosts that requests may name: any, or those `named` and this machine.

    A malicious page can let its own host name resolve to this machine (DNS rebinding). A browser
    then takes this server for the page's own, and only the name in `Host` shows that it is not.
    """

    def __init__(self, named: Iterable[str] = (), reached_at: str = "localhost") -> None:
        self.set(named, reached_at)

    def set(self, named: Iterable[str], reached_at: str) -> None:
        """Serve these hosts, and `reached_at`, where programs on this machine reach the server."""
        some = frozenset(_bare(host) for host in named)
        self._served = some | {*_OF_THIS_MACHINE, _bare(reached_at)} if some else None

    def serves(self, host: str) -> bool:
        """Return whether a Host field, with or without a port, names a served host."""
        return self._served is None or _bare(host) in self._served

    def check(self, host: str) -> None:
        """Raise MisdirectedRequest unless the host is served."""
        if not self.serves(host):
            raise MisdirectedRequest("Host names none of the hosts in `hosts`")


def _bare(host: str) -> str:
    """Return a host in lower case without its port, and IPv6 without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.lower() if host.count(":") > 1 else host.partition(":")[0].lower()
