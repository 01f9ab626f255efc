"""Questions about the live readers of a gateway, and the answers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from headgate_gateway.access.bans import Ban

if TYPE_CHECKING:
    from collections.abc import Sequence

ReaderMode = Literal["sse", "long-poll"]
ReaderStatus = Literal["live", "catching up", "slow"]
ReaderOrder = Literal["behind", "since", "bytes", "stream", "principal", "address"]
GroupBy = Literal["principal", "address", "stream"]

READERS = 100  # of a page by default
MOST_READERS = 500  # of a page: 200 kB
# In an answer of one process. The merged list is exact if no process has more.
MOST_GROUPS = 500
MOST_ENDED = 1_000  # readers named one by one; all of a principal or an address need no names


class ReaderQuery(msgspec.Struct, frozen=True):
    """A choice of readers; an empty field chooses all.

    `account` None chooses all, and "" those without a principal. Without `with_clients` addresses
    and user agents are neither returned nor compared: the viewer may not see them.
    """

    route: str = ""  # its prefix
    stream: str = ""  # its name below the prefix
    mode: ReaderMode | None = None
    account: str | None = None
    address: str = ""
    text: str = ""  # in the stream, the principal, the status, the address or the user agent
    between: tuple[float, float] | None = None  # epoch seconds, in which it has connected
    with_clients: bool = False

    def fits(self, row: ReaderRow) -> bool:
        """Return whether a reader of the chosen route and stream is one of these."""
        if self.mode is not None and row.mode != self.mode:
            return False
        if self.account is not None and row.account != self.account:
            return False
        if self.address and row.address != self.address:
            return False
        if self.between is not None and not self.between[0] <= row.since < self.between[1]:
            return False
        shown = (row.stream, row.principal, row.status, row.address or "", row.user_agent or "")
        return not self.text or any(self.text.lower() in it.lower() for it in shown)


class ReaderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A live reader. None is what is not known, or what the viewer may not see.

    `behind` is in bytes from its offset to the tail, where offsets are positions. A long-poll
    begins anew with each request, and has no bytes before its end.
    """

    id: str  # of its connection, in the process that serves it
    route: str
    stream: str
    mode: ReaderMode
    status: ReaderStatus
    offset: str
    behind: int | None = None
    since: float  # epoch seconds
    sent_bytes: int | None = None
    principal: str = ""  # its name; empty for an anonymous reader
    account: str = ""  # unique, where the name may not be
    address: str | None = None
    user_agent: str | None = None


Rank = tuple[float | str, str]


def rank(order: ReaderOrder, row: ReaderRow) -> Rank:
    """Return the sort key of a row: the largest numbers and the oldest readers come first."""
    match order:
        case "behind":
            return -float(row.behind or 0), row.id
        case "since":
            return row.since, row.id
        case "bytes":
            return -float(row.sent_bytes or 0), row.id
        case "stream":
            return f"{row.route}/{row.stream}", row.id
        case "principal":
            return row.principal, row.id
        case "address":
            return row.address or "", row.id


class ListReaders(msgspec.Struct, tag=True, frozen=True):
    """The readers that `where` chooses, a page of them.

    `after` is the `after` of the page before: JSON with the rank of its last row.
    """

    where: ReaderQuery
    order: ReaderOrder = "behind"
    after: str = ""
    limit: int = READERS


class ReaderSums(msgspec.Struct, frozen=True):
    """The sums of the chosen readers, also of those that are on other pages."""

    by_mode: dict[ReaderMode, int] = {}
    by_status: dict[ReaderStatus, int] = {}
    sent_bytes: int = 0
    behind: int = 0  # bytes of the reader that is furthest behind

    @property
    def readers(self) -> int:
        """The number of readers."""
        return sum(self.by_mode.values())


def sum_of(sums: Sequence[ReaderSums]) -> ReaderSums:
    """Return the sums of the readers of several processes."""
    modes: Counter[ReaderMode] = Counter()
    statuses: Counter[ReaderStatus] = Counter()
    for one in sums:
        modes.update(one.by_mode)
        statuses.update(one.by_status)
    sent_bytes, behind = sum(it.sent_bytes for it in sums), max(it.behind for it in sums)
    return ReaderSums(dict(modes), dict(statuses), sent_bytes, behind)


class ReaderPage(msgspec.Struct, tag=True, frozen=True):
    """Readers, where the next page begins (None when there is none), and how many there are."""

    rows: tuple[ReaderRow, ...]
    total: int
    after: str | None = None
    sums: ReaderSums = ReaderSums()


class GroupReaders(msgspec.Struct, tag=True, frozen=True):
    """The readers that `where` chooses, counted by what they have in common."""

    where: ReaderQuery
    by: GroupBy


class ReaderGroup(msgspec.Struct, frozen=True):
    """Readers with the same `key`: an account, an address, or a route and a stream."""

    key: str
    name: str  # for display
    readers: int
    sent_bytes: int
    behind: int  # bytes of the reader that is furthest behind
    since: float  # of the oldest reader (epoch seconds)


class ReaderGroups(msgspec.Struct, tag=True, frozen=True):
    """The groups with the most readers; `total` counts all groups of the process."""

    rows: tuple[ReaderGroup, ...]
    total: int
    sums: ReaderSums = ReaderSums()


def merged(one: ReaderGroup, other: ReaderGroup) -> ReaderGroup:
    """Return the group of the readers of both, which have the same key."""
    return ReaderGroup(
        one.key,
        one.name,
        one.readers + other.readers,
        one.sent_bytes + other.sent_bytes,
        max(one.behind, other.behind),
        min(one.since, other.since),
    )


class EndReaders(msgspec.Struct, tag=True, frozen=True):
    """Disconnect these readers, at most MOST_ENDED; their clients may connect again."""

    ids: tuple[str, ...]


class EndedReaderCount(msgspec.Struct, tag=True, frozen=True):
    """The number of readers that a process has disconnected."""

    count: int


class ApplyBans(msgspec.Struct, tag=True, frozen=True):
    """Refuse the clients that these ban, and no others; disconnect their readers."""

    bans: tuple[Ban, ...]


ReaderQuestion = ListReaders | GroupReaders | EndReaders | ApplyBans
ReaderAnswer = ReaderPage | ReaderGroups | EndedReaderCount
