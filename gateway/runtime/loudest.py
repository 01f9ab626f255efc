"""The clients and streams that this process serves most, over the last minutes.

Who serves a request adds to the `Tally` of its client and of its stream, in a dictionary that makes
the missing ones, so that a request pays no call for it. The sweep of the connections looks at these
now and then, and keeps the heaviest MOST of each kind.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import nlargest
from math import exp
from time import monotonic
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec
from multidict import MultiMapping, istr

from gateway.access.principal import UNCOUNTED, CredentialUse
from gateway.protocol.http.client_address import FRONT, TrustedProxies, counted_as
from gateway.telemetry.access_log import LONGEST_SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

K = TypeVar("K")

MOST = 256  # of each list: 100 kB in all, and a page shows fewer
LOOK_S = 5.0  # between two looks
MOST_PENDING = 4096  # tallies after which a look comes early: it takes 10 ms
# A third of a count is left after this time, and a twentieth after a quarter of an hour.
FADES_S = 300.0
BYTES_OF_A_REQUEST = 16 * 1024  # of bodies, that weigh as much as a request
LEAST_WEIGHT = 1e-3  # a row that has faded below it is dropped
NO_STREAM = ""  # the path that refused requests are counted at, and those for no stream
_USER_AGENT = istr("User-Agent")


class Counts(msgspec.Struct, kw_only=True):
    """The load of a client or a stream: whole numbers in a tally, and faded ones in a list.

    `requests` are those that were answered, and `refused` those of them with 4xx or 5xx.
    """

    requests: float = 0
    appends: float = 0
    refused: float = 0
    sent: float = 0  # bytes of bodies
    received: float = 0  # bytes of bodies

    def add(self, other: Counts) -> None:
        """Add the counts of another."""
        self.requests += other.requests
        self.appends += other.appends
        self.refused += other.refused
        self.sent += other.sent
        self.received += other.received

    def times(self, factor: float) -> Counts:
        """Return the counts, each times a factor."""
        return Counts(
            requests=self.requests * factor,
            appends=self.appends * factor,
            refused=self.refused * factor,
            sent=self.sent * factor,
            received=self.received * factor,
        )

    @property
    def weight(self) -> float:
        """The load, in requests."""
        return self.requests + (self.sent + self.received) / BYTES_OF_A_REQUEST


class Tally(Counts, eq=False):
    """The counts since the last look.

    That of a client has the `address` at the other end of its last connection, and either the
    `headers` of its last request, or its `agent` if the address is the client's own.
    """

    address: str | None = None
    headers: MultiMapping[str] | None = None
    agent: str | None = None


class ClientSubject(NamedTuple):
    """A client: the `account` of a principal, or an address as limits count it, with an agent."""

    account: str = ""
    name: str = ""
    address: str = ""
    agent: str = ""


class TopList(Generic[K]):
    """The heaviest MOST of the subjects that were counted, whose counts fade.

    One that comes into a full list begins with nothing, and takes the place of a lighter one. What
    it had before is missing: at most the weight of the heaviest that ever had to leave, faded
    (`missed`). Whatever causes more than one part in MOST of the load is in the list.
    """

    def __init__(self) -> None:
        self.rows: dict[K, Counts] = {}
        self.missed = 0.0
        self._missing: dict[K, float] = {}  # what may be missing in a row

    def look(self, counted: Mapping[K, Counts], fade: float) -> None:
        """Fade the list, and add what was counted since the last look."""
        self.missed *= fade
        rows = {
            subject: faded
            for subject, counts in self.rows.items()
            if (faded := counts.times(fade)).weight >= LEAST_WEIGHT
        }
        missing = {it: self._missing[it] * fade for it in rows}
        for subject, counts in counted.items():
            row = rows.get(subject)
            if row is None:
                row, missing[subject] = Counts(), self.missed
                rows[subject] = row
            row.add(counts)
        if len(rows) > MOST:
            weights = {it: row.weight + missing[it] for it, row in rows.items()}
            kept = nlargest(MOST, weights, key=weights.__getitem__)
            self.missed = max(weights[it] for it in weights.keys() - set(kept))
            rows = {it: rows[it] for it in kept}
        self.rows = rows
        self._missing = {it: missing[it] for it in rows}


class Loudest:
    """The loudest clients and streams of a process, which its connections count.

    Clients are counted in `clients`: by the use of their credential, or by an address with an
    agent, or with what the head of their requests was parsed to, which has the agent. Streams are
    counted in `streams`, by their path as it was sent.
    """

    def __init__(self, proxies: TrustedProxies, clock: Callable[[], float] = monotonic) -> None:
        """`clock` returns seconds that only go forward."""
        self._proxies = proxies
        self._clock = clock
        self._began = self._looked_at = clock()
        self.clients: defaultdict[object, Tally] = defaultdict(Tally)
        self.streams: defaultdict[str, Tally] = defaultdict(Tally)
        self.top_clients: TopList[ClientSubject] = TopList()
        self.top_streams: TopList[str] = TopList()

    def look_if_due(self) -> None:
        """Look if the last look is long ago, or much was counted since."""
        pending = len(self.clients) + len(self.streams)
        if pending >= MOST_PENDING or (pending and self._clock() >= self._looked_at + LOOK_S):
            self.look()

    def look(self) -> float:
        """Bring the lists up to date; return the factor that makes their counts rates a second."""
        now = self._clock()
        fade = exp((self._looked_at - now) / FADES_S)
        self._looked_at = now
        clients: defaultdict[ClientSubject, Counts] = defaultdict(Counts)
        for source, tally in self.clients.items():
            if source is not UNCOUNTED:
                clients[self._subject(source, tally)].add(tally)
        self.top_clients.look(clients, fade)
        self.streams.pop(NO_STREAM, None)
        self.top_streams.look(self.streams, fade)
        self.clients.clear()
        self.streams.clear()
        age = max(1.0, now - self._began)
        return 1 / (FADES_S * (1 - exp(-age / FADES_S)))

    def _subject(self, source: object, tally: Tally) -> ClientSubject:
        """Return the client of a tally; note where a credential was used from."""
        agent, address = tally.agent, tally.address or ""
        if tally.headers is not None:
            agent = tally.headers.get(_USER_AGENT)
            address = self._proxies.client(tally.address or FRONT, tally.headers)
        agent = (agent or "")[:LONGEST_SHOWN]
        if isinstance(source, CredentialUse):
            source.address, source.agent = address, agent
            return ClientSubject(source.holder.account, source.holder.name)
        return ClientSubject(address=counted_as(address), agent=agent)
