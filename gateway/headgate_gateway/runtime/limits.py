"""The limits on what clients can make this process hold, and how much of each is in use."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import (
    BodyTooLarge,
    ClientLimitReached,
    HeadTooLarge,
    LimitReached,
    StreamLimit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.open_files import SharedFiles


# The names of the limits: settings first, then fixed bounds.
LIMITS = (
    *("max_connections", "max_live_readers", "max_feeds", "max_append", "max_pending_appends"),
    *("max_origin_requests", "header_timeout", "body_timeout", "min_body_rate"),
    *("max_client_connections", "max_client_appends", "max_client_creations"),
    *(
        "max_loop_lag",
        "client_feeds",
        "client_lists",
        "head_size",
        "open_files",
        "passed_body",
        "stream_producers",
    ),
    *("stream_size", "fork_depth", "stream_answers", "decoding_time", "decoding_queue"),
)
# Bytes of a body that is forwarded as it arrives, without a copy: files for providers have 512 MB.
LONGEST_PASSED = 512 << 20
# One client may have started at most this share of the followed streams: otherwise a client with a
# live read of each of max_feeds streams would leave no live reads to others.
CLIENTS_SHARE = 4


class Bounds(NamedTuple):
    """The bounds of a process, by the settings; appends in bytes, the others in number."""

    max_connections: int
    max_client_connections: int
    max_live_readers: int
    max_feeds: int
    max_append: int
    max_pending_appends: int


class ServerLimits:
    """The limits of a process, and counts of what is in use, without locks.

    `refused` counts, for each of LIMITS, the requests and connections that it has turned away.
    """

    def __init__(self, bounds: Bounds, files: SharedFiles | None = None) -> None:
        """Share `files` with connections to servers, if there are any to share."""
        self.files = files
        self.reader_slots = self.max_live_readers = 0
        self.set_bounds(bounds)
        self.connections = 0
        self.connections_of: dict[str, int] = {}  # by client, while it has any
        self.feeds = 0  # streams followed at origins
        self.feeds_of: dict[str, int] = {}  # by the client that began them, while it has any
        self.lists_of: set[str] = set()  # clients for which a list of streams is being read
        self.receiving_bytes = 0
        self.refused = dict.fromkeys(LIMITS, 0)

    def set_bounds(self, bounds: Bounds) -> None:
        """Refuse what is beyond these from now on; what is in use already stays."""
        self.max_connections = bounds.max_connections
        self.max_client_connections = bounds.max_client_connections
        # Free for further live readers: below 0 after a lower limit.
        self.reader_slots = bounds.max_live_readers - self.live_readers
        self.max_live_readers = bounds.max_live_readers
        self.max_feeds = bounds.max_feeds
        self.max_client_feeds = max(1, bounds.max_feeds // CLIENTS_SHARE)
        self.max_append = bounds.max_append
        self.max_pending_appends = bounds.max_pending_appends

    def refused_by_rule(self, error: HeadgateError) -> None:
        """Count a refusal by a limit that is checked elsewhere."""
        if isinstance(error, StreamLimit):
            self.refused[error.limit] += 1
        elif isinstance(error, HeadTooLarge):
            self.refused["head_size"] += 1

    def receive(self, size: int) -> None:
        """Count bytes of a body under way; raises LimitReached if all bodies are too long."""
        if self.receiving_bytes + size > self.max_pending_appends:
            self.refused["max_pending_appends"] += 1
            raise LimitReached(
                "max_pending_appends is reached by bodies that come or wait: try again"
            )
        self.receiving_bytes += size

    @contextmanager
    def receiving(self) -> Iterator[Callable[[int], None]]:
        """Enter with a function that counts the bytes of each part of a body, up to the exit.

        It raises BodyTooLarge, or LimitReached if all bodies are too long.
        """
        body = BodyCount(self)
        try:
            yield body.add_part
        finally:
            body.release()

    def check_passed(self, size: int) -> None:
        """Raise BodyTooLarge if a body that is only passed on has more bytes than it may have."""
        if size > LONGEST_PASSED:
            self.refused["passed_body"] += 1
            raise BodyTooLarge(LONGEST_PASSED, "what is passed on")

    @property
    def _are_files_short(self) -> bool:
        return self.files is not None and self.files.is_crowded

    @property
    def free_connections(self) -> int:
        """The number of connections until a client that is refused has to leave."""
        free = self.max_connections - self.max_connections // 16 - self.connections
        return free if self.files is None else min(free, self.files.free_until_crowded)

    @property
    def is_crowded(self) -> bool:
        """True while a client that is refused has to leave, so that others can connect."""
        return self.free_connections < 0

    @property
    def live_readers(self) -> int:
        """The number of live readers."""
        return self.max_live_readers - self.reader_slots

    def reader_joins(self) -> None:
        """Count one more live reader; raises LimitReached if it is one too many."""
        if self.reader_slots <= 0:
            self.refused["max_live_readers"] += 1
            raise LimitReached("max_live_readers is reached: too many readers wait already")
        self.reader_slots -= 1

    def release_reader(self) -> None:
        """Count one live reader less."""
        self.reader_slots += 1

    def may_follow(self, client: str) -> bool:
        """Return whether a client may begin to follow one stream more."""
        has_share = self.feeds_of.get(client, 0) < self.max_client_feeds
        return has_share and self.feeds < self.max_feeds and not self._are_files_short

    @contextmanager
    def feed(self, client: str) -> Iterator[None]:
        """Count a stream that a client begins to follow, for as long as it is followed.

        Raises LimitReached or ClientLimitReached if it is one too many.
        """
        if self.feeds >= self.max_feeds:
            self.refused["max_feeds"] += 1
            raise LimitReached("max_feeds is reached: too many streams are followed already")
        if self._are_files_short:  # each takes a connection to its origin
            self.refused["open_files"] += 1
            raise LimitReached("open_files is reached: no further stream is followed for now")
        if not self.may_follow(client):
            self.refused["client_feeds"] += 1
            raise ClientLimitReached(
                f"client_feeds is reached: {self.max_client_feeds} streams are followed for you "
                "already, as many of max_feeds as one client may have begun"
            )
        self.feeds += 1
        self.feeds_of[client] = self.feeds_of.get(client, 0) + 1
        try:
            yield
        finally:
            self.feeds -= 1
            self.feeds_of[client] -= 1
            if not self.feeds_of[client]:
                del self.feeds_of[client]

    @contextmanager
    def listing(self, client: str) -> Iterator[None]:
        """Note that a list of streams is being read for a client.

        Raises ClientLimitReached if another one is: a page may take ten milliseconds of a process.
        """
        if client in self.lists_of:
            self.refused["client_lists"] += 1
            raise ClientLimitReached(
                "client_lists is reached: another list of streams is being read for you"
            )
        self.lists_of.add(client)
        try:
            yield
        finally:
            self.lists_of.discard(client)

    def connection_made(self, client: str | None) -> ClientLimitReached | LimitReached | None:
        """Count one connection more; return the error to refuse it with, if it is one too many.

        A refused connection counts until it is lost, but not as one of `client`.
        """
        is_too_many = self.connections >= self.max_connections or (
            self.files is not None and self.files.takes_no_client
        )
        self.connections += 1
        if self.files is not None:
            self.files.clients += 1
        if is_too_many:
            self.refused["max_connections"] += 1
            return LimitReached("max_connections is reached")
        if client is None:
            return None
        others = self.connections_of.get(client, 0)
        if others >= self.max_client_connections:
            self.refused["max_client_connections"] += 1
            return ClientLimitReached("max_client_connections is reached by your address")
        self.connections_of[client] = others + 1
        return None

    def connection_lost(self, client: str | None) -> None:
        """Count one connection less."""
        self.connections -= 1
        if self.files is not None:
            self.files.clients -= 1
        if client is None:
            return
        self.connections_of[client] -= 1
        if not self.connections_of[client]:
            del self.connections_of[client]


class BodyCount:
    """The bytes of one body among those of all bodies, until they are released.

    A block that is entered with a count releases it if it raises.
    """

    __slots__ = ("_limits", "size")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self.size = 0

    def add_part(self, size: int) -> None:
        """Count a part of a body of at most max_append. Raises BodyTooLarge, LimitReached."""
        limits = self._limits
        if self.size + size > limits.max_append:
            limits.refused["max_append"] += 1
            raise BodyTooLarge(limits.max_append)
        self.add(size)

    def add(self, size: int) -> None:
        """Count bytes of a body of any length. Raises LimitReached if all bodies are too long."""
        self._limits.receive(size)
        self.size += size

    def release(self) -> None:
        """Count none of the bytes any longer."""
        self._limits.receiving_bytes -= self.size
        self.size = 0

    def __enter__(self) -> Self:
        """Return the count."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release the bytes after an error, with which the body is dropped."""
        if kind is not None:
            self.release()
