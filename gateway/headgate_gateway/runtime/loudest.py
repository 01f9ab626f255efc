"""The clients and streams that this process serves most, over the last minutes.

Whatever answers a request adds to the counts of its client and its stream, in a dictionary that
makes the missing ones, so that a request pays no call for it. They are a list, which is made in two
thirds of the time that an object with attributes takes. The sweep of the connections looks at these
now and then, and keeps the heaviest MOST clients and streams.
"""

from __future__ import annotations

import random
from collections import defaultdict
from heapq import nlargest
from math import exp
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from multidict import istr

from headgate_gateway.access.principal import CONSOLE
from headgate_gateway.protocol.http.client_address import FRONT, TrustedProxies, counted_as
from headgate_gateway.telemetry.access_log import LONGEST_SHOWN
from headgate_gateway.telemetry.logs import as_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.access.principal import Principal

K = TypeVar("K")

MOST = 256  # of each list: 100 kB in all, and a page shows fewer
LOOK_S = 5.0  # between two looks
MOST_PENDING = 16_384  # keys after which a look comes early, which takes 12 ms: 5 MB
# Counts that one look adds up: 2 ms. Where there are more, half of these are the heaviest, and the
# others a sample of the rest.
MOST_ADDED = 512
# A third of a count is left after this time, and a twentieth after a quarter of an hour.
FADES_S = 300.0
GROWTH_S = 10.0  # over which the fastest growth is taken, at least
BYTES_OF_A_REQUEST = 16 * 1024  # of bodies, that weigh as much as a request
LEAST_WEIGHT = 1e-3  # a row that has faded below it is dropped
NO_STREAM = ""  # the path at which refused requests are counted, and those for no stream
NO_SENDER = None, None  # the principal and the agent where there is no request
_USER_AGENT = istr("User-Agent")
# The load of a client or a stream: whole numbers since a look, and faded ones in a list of the
# heaviest. A request is an append or one of OTHERS. REFUSED are those of both that were answered
# with 4xx or 5xx; SENT and RECEIVED are the bytes of bodies.
Counts = list[float]
OTHERS, APPENDS, REFUSED, SENT, RECEIVED = range(5)
NONE: Counts = [0, 0, 0, 0, 0]


def add(counts: Counts, others: Counts, factor: float = 1.0) -> None:
    """Add other counts to these, each times a factor."""
    for place, number in enumerate(others):
        counts[place] += number * factor


def weight_of(counts: Counts) -> float:
    """Return the load of such counts, in requests."""
    return requests_of(counts) + (counts[SENT] + counts[RECEIVED]) / BYTES_OF_A_REQUEST


def requests_of(counts: Counts) -> float:
    """Return the number of requests, appends included."""
    return counts[OTHERS] + counts[APPENDS]


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
    (`missed`). All that cause more than one part in MOST of the load are in the list.
    """

    def __init__(self) -> None:
        self.rows: dict[K, Counts] = {}
        self.missed = 0.0
        self._missing: dict[K, float] = {}  # what may be missing in a row

    def look(self, counted: Mapping[K, Counts], fade: float) -> None:
        """Fade the list, and add what was counted since the last look, which the list keeps."""
        self.missed *= fade
        rows: dict[K, Counts] = {}
        missing: dict[K, float] = {}
        for subject, before in self.rows.items():
            row = [number * fade for number in before]
            if weight_of(row) >= LEAST_WEIGHT:
                rows[subject], missing[subject] = row, self._missing[subject] * fade
        for subject, counts in counted.items():
            if subject in rows:
                add(rows[subject], counts)
            else:
                rows[subject], missing[subject] = counts, self.missed
        if len(rows) > MOST:
            weights = {it: weight_of(row) + missing[it] for it, row in rows.items()}
            heaviest = nlargest(MOST, weights, key=weights.__getitem__)
            self.missed = max(weights[it] for it in weights.keys() - set(heaviest))
            rows = {it: rows[it] for it in heaviest}
        self.rows = rows
        self._missing = {it: missing[it] for it in rows}


class Loudest:
    """The loudest clients and streams of a process, which its connections count.

    A key of `counted` has three parts: the peer of a connection, the head of a request, which has
    `headers` and a `principal`, and the path of a stream as it was sent, maybe with a query. The
    first two may also be the address of a client, and a tuple of its principal and its user agent.
    The address CONSOLE is that of requests with the console's mark, which is in no list of clients.
    """

    def __init__(self, proxies: TrustedProxies, clock: Callable[[], float] = monotonic) -> None:
        """`clock` returns seconds that only go forward."""
        self._proxies = proxies
        self._clock = clock
        self._began = self._looked_at = self._grown_since = clock()
        # Bytes by stream since then, without those that received few bytes between two looks.
        self._grown: defaultdict[str, float] = defaultdict(float)
        self._fastest = 0.0
        self.counted: defaultdict[tuple[str | None, Any, str], Counts] = defaultdict(NONE.copy)
        self.clients: TopList[ClientSubject] = TopList()
        self.streams: TopList[str] = TopList()

    def look_if_due(self) -> None:
        """Look if the last look is long ago, or much was counted since."""
        pending = len(self.counted)
        if pending >= MOST_PENDING or (pending and self._clock() >= self._looked_at + LOOK_S):
            self.look()

    def fastest_growth(self) -> float:
        """Return the bytes a second that the stream that grows fastest has received lately."""
        return self._fastest if self._clock() < self._grown_since + 2 * GROWTH_S else 0.0

    def look(self) -> float:
        """Bring the lists up to date; return the factor that makes their counts rates a second."""
        now = self._clock()
        fade = exp((self._looked_at - now) / FADES_S)
        self._looked_at = now
        clients: defaultdict[ClientSubject, Counts] = defaultdict(NONE.copy)
        streams: defaultdict[str, Counts] = defaultdict(NONE.copy)
        counted = list(self.counted.items())
        self.counted.clear()
        for items, factor in _sample(counted):
            for (address, head, path), counts in items:
                client = None if address == CONSOLE else self._subject(address, head)
                if client is not None and client.account != CONSOLE:
                    add(clients[client], counts, factor)
                if path and counts[REFUSED] < requests_of(counts):
                    add(streams[path.partition("?")[0]], counts, factor)
        self.clients.look(clients, fade)
        self.streams.look(streams, fade)
        self._note_growth(now, streams)
        age = max(1.0, now - self._began)
        return 1 / (FADES_S * (1 - exp(-age / FADES_S)))

    def _note_growth(self, now: float, streams: Mapping[str, Counts]) -> None:
        for path, counts in streams.items():
            if counts[RECEIVED] >= BYTES_OF_A_REQUEST:
                self._grown[path] += counts[RECEIVED]
        elapsed = now - self._grown_since
        if elapsed >= GROWTH_S:
            self._fastest = max(self._grown.values(), default=0.0) / elapsed
            self._grown.clear()
            self._grown_since = now

    def _subject(self, address: str | None, head: Any) -> ClientSubject:  # noqa: ANN401 - as above
        """Return the client of such a key; note where a credential was used from."""
        principal: Principal | None
        if isinstance(head, tuple):
            principal, agent = head
        else:
            principal, agent = head.principal, head.headers.get(_USER_AGENT)
            address = self._proxies.client(address or FRONT, head.headers)
        address, agent = address or "", as_utf8(agent or "", LONGEST_SHOWN)
        if principal is None:
            return ClientSubject(address=counted_as(address), agent=agent)
        principal.use.note_place(address, agent)
        return ClientSubject(principal.account, principal.name)


Counted = tuple[tuple[str | None, Any, str], Counts]


def _sample(counted: list[Counted]) -> Sequence[tuple[Sequence[Counted], float]]:
    """Return the counts to add up, and by how much to multiply them.

    Of many, the heaviest are added as they are, and a sample of the others stands for all of these.
    """
    if len(counted) <= MOST_ADDED:
        return [(counted, 1.0)]
    counted.sort(key=lambda item: weight_of(item[1]), reverse=True)
    half = MOST_ADDED // 2
    others = counted[half:]
    return [
        (counted[:half], 1.0),
        (random.sample(others, half), len(others) / half),
    ]
