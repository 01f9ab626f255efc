"""The context that every route and connection of a process shares, and the hosts it serves."""

from __future__ import annotations

import secrets
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.access.bans import Bans
from gateway.access.principal import CredentialUses
from gateway.errors import MisdirectedRequest
from gateway.live.admitted_readers import AdmittedReaders
from gateway.protocol import http1, responses
from gateway.protocol.cache_headers import PurgeTrust
from gateway.protocol.http import cache_status, forwarding
from gateway.runtime.shedding import LoopLag
from gateway.telemetry.access_log import NewestRefusals
from gateway.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.errors import HeadgateError
    from gateway.protocol.responses import Response
    from gateway.runtime.common_headers import CommonHeaders
    from gateway.runtime.quotas import Quotas
    from gateway.runtime.write_journal import Write, WriteJournal
    from gateway.store import Store
    from gateway.telemetry.access_log import AccessLog
    from gateway.telemetry.spans import Tracer


class Timeouts(NamedTuple):
    """Timeouts of a request: for its head, and between the parts of its body, in seconds.

    `body_rate` is the least of a body in bytes a second, once it has taken some seconds in all.
    The last two bound how slowly an answer is taken, too.
    """

    header: float
    body: float
    body_rate: int


class Services:
    """The clock (epoch seconds), the cache, the bounds, and how answers begin and are logged."""

    def __init__(  # noqa: PLR0913 - what all routes share
        self,
        clock: Callable[[], float],
        store: Store[Any],
        quotas: Quotas,
        lines: CommonHeaders,
        log: AccessLog,
        timeouts: Timeouts,
        scheme: str = forwarding.SCHEME,
    ) -> None:
        self.clock = clock
        self.scheme = scheme  # by which the listener is reached without a proxy
        self.running = clock  # seconds that nobody sets, where somebody sets the clock
        self.expiry_grace_s = 0.0  # for how long no stream is removed while the clock is in doubt
        self.store = store
        self.quotas = quotas
        self.limits = quotas.limits
        self.release_reader = quotas.limits.release_reader
        self.bans = Bans(clock, quotas.client_address)
        self.lines = lines
        self.log = log
        self.timeouts = timeouts
        self.hosts = ServedHosts()  # any, unless the settings name some
        self.shedding = quotas.shedding
        self.lag = LoopLag(self.shedding.add_lag)
        self.refusals = NewestRefusals(clock)
        self.credential_uses = CredentialUses()
        self.unrouted = Traffic()  # requests that fit no route
        self.via = (
            f"1.1 headgate-{secrets.token_hex(4)}"  # our line in Via: no other process has it
        )
        # Of writes, which make copies of other workers old, too. None without other workers.
        self.journal: WriteJournal | None = None
        # The caches in front are to forget a stream: a route's prefix, and a canonical path.
        self.purge: Callable[[str, str], None] = lambda _prefix, _path: None
        self.purge_trust: Callable[[], PurgeTrust] = PurgeTrust  # whether these caches do so
        self.tracer: Tracer | None = None  # where spans are wanted; known before routes are made
        self.admitted = AdmittedReaders(clock)
        self.held: set[Any] = (
            set()
        )  # requests of features, ended when their client's permission ends
        self._again_s = cycle(responses.RETRY_AFTER_S)
        self.refusal_lines = cache_status.BYPASS.lines  # of refusals without a request
        self.closing = False  # answers are the last of their connections, as the server stops

    def connect(
        self,
        *,
        tracer: Tracer | None = None,
        journal: WriteJournal | None = None,
        purge: Callable[[str, str], None] | None = None,
        purge_trust: Callable[[], PurgeTrust] | None = None,
    ) -> None:
        """Connect the routes to traces, to the other workers, and to the caches in front.

        Called before the routes are made. What is not given stays as it is.
        """
        self.tracer = tracer or self.tracer
        self.journal = journal or self.journal
        self.purge = purge or self.purge
        self.purge_trust = purge_trust or self.purge_trust

    def bound_requests(self, timeouts: Timeouts, log: AccessLog) -> None:
        """Bound and log the requests that begin from now on by these."""
        self.timeouts, self.log = timeouts, log

    def serve_hosts(self, hosts: ServedHosts) -> None:
        """Refuse requests for other hosts than these."""
        self.hosts = hosts

    def expire_by(self, running: Callable[[], float], grace_s: float) -> None:
        """Let streams expire by a clock that cannot be set; wait `grace_s` if the clock is set."""
        self.running, self.expiry_grace_s = running, grace_s

    def add_to_refusals(self, lines: bytes) -> None:
        """Set the header lines that refusals without a request have."""
        self.refusal_lines = lines

    def start_closing(self) -> None:
        """Let each response be the last of its connection, because the server stops."""
        self.closing = True

    def announce(self, write: Write) -> None:
        """Announce a write to the other workers before its answer is sent."""
        if self.journal is not None:
            self.journal.announce(write)

    def problem(self, error: HeadgateError) -> Response:
        """Return a refusal; clients refused together are told different times to return."""
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
        """Return a refusal as bytes, with a new id unless `request_id` is given."""
        request_id = request_id or self.lines.new_request_id()
        lines = self.lines.own(request_id=request_id, origin=None, connection=connection)
        return http1.serialize(refusal, lines + self.refusal_lines, to_head=to_head)

    def collapsed(self, response: Response) -> tuple[Response, bytes]:
        """Return a feed's response, and it as bytes for all readers with equal requests."""
        lines = self.lines.shared()
        if response.facts.has_cors:
            lines = self.lines.own(request_id=None, origin=None, connection=None, cors=False)
        return response, http1.serialize(response, lines + cache_status.COLLAPSED.lines)


# Names of this machine, which no other site can have.
_OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class ServedHosts:
    """The hosts that requests may name: any, or those `named` and this machine.

    A malicious page can let its own host name resolve to this machine (DNS rebinding). A browser
    then takes this server for the page's own, and only the name in `Host` shows that it is not.
    """

    def __init__(self, named: Iterable[str] = (), reached_at: str = "localhost") -> None:
        """Take the host at which programs on this machine reach the server as `reached_at`."""
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
