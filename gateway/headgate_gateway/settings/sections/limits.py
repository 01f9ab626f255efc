"""The settings that limit what clients may use, all together and each one of them."""

from __future__ import annotations

from headgate_gateway.open_files import FileShares
from headgate_gateway.settings.reading.kinds import Count, Seconds, Size, show_size
from headgate_gateway.settings.reading.reload_effects import AT_ONCE, NEXT, OPEN_STAYS
from headgate_gateway.settings.reading.tables import Section, ValueContext, checks, setting
from headgate_gateway.settings.reading.units import GIB, HOUR_S


class LimitSettings(Section):
    """The limits on what all clients, and each one of them, can make a process hold or do.

    A client is a principal by name, or else an address; IPv6 addresses with the same first 64 bits
    are one client. A rate permits a burst as large as its limit for the whole period.
    """

    # A body is in memory until it is committed. A row of the log holds all that one commit appends
    # to a stream, and SQLite's rows have at most 10^9 bytes.
    max_append: Size = setting(
        16 << 20,
        ge=1,
        le=GIB // 2,
        description="Longest body of one append or create.",
        reload=NEXT,
    )
    max_pending_appends: Size = setting(
        256 << 20,
        ge=1,
        le=1024 * GIB,
        description="Bytes of appends and creations that may wait for the log of a route, and of "
        "bodies that are being received; not less than max_append.",
        reload=NEXT,
    )
    max_connections: Count = setting(
        0,
        ge=0,
        le=10_000_000,
        description="Most connections at once; 0, or more than the open-file limit leaves, means "
        "as many as that leaves.",
        reload=OPEN_STAYS,
    )
    max_live_readers: Count = setting(
        100_000,
        ge=1,
        le=10_000_000,
        description="Most long-polls and SSE readers at once.",
        reload=OPEN_STAYS,
    )
    max_feeds: Count = setting(
        10_000,
        ge=1,
        le=10_000_000,
        description="Most streams that are followed at http(s) origins at once.",
        reload=OPEN_STAYS,
    )
    # No limit by default: a token of a model's answer, or a sensor's value, may be an append, and a
    # backend writes for all of its users.
    max_client_appends: Count = setting(
        0,
        ge=0,
        le=10_000_000,
        description="Most appends of one client in a second; 0 means no limit.",
        reload=NEXT,
    )
    # 28 a second around the clock: two and a half million a day by one client.
    max_client_creations: Count = setting(
        100_000,
        ge=0,
        le=100_000_000,
        description="Most requests of one client in an hour to create a stream; 0 means no limit.",
        reload=NEXT,
    )
    # The lag of two measurements in a row: the loop has served nobody for two seconds. Clients that
    # are refused can retry elsewhere. A full garbage collection takes a tenth of it.
    max_loop_lag: Seconds = setting(
        1.0,
        ge=0,
        le=HOUR_S,
        description="Lag of the event loop at which uncached reads are refused; at twice this lag, "
        "also live readers, and at four times, also writes. 0 means never.",
        reload=AT_ONCE,
    )

    cache_size: Size = setting(
        256 << 20,
        ge=0,
        le=1024 * GIB,
        description="Memory for cached answers; 0 means no cache.",
        reload="yes; what no longer fits is dropped, the least used first",
    )

    @checks("max_pending_appends")
    @classmethod
    def _check_one_append_fits(cls, size: int, context: ValueContext) -> int:
        longest = context.values.get("max_append", 0)
        if size < longest:
            raise ValueError(f"must not be less than max_append, {show_size(longest)}")
        return size

    def connection_limit(self, open_files: int) -> int:
        """Return the most connections at once for a process that may open `open_files`."""
        most = FileShares.of(open_files).clients
        return min(self.max_connections or most, most)

    def reader_limit(self, open_files: int) -> int:
        """Return the most live readers at once for a process that may open `open_files`."""
        return min(self.max_live_readers, FileShares.of(open_files).readers)

    def by_open_files(self, open_files: int) -> dict[str, int]:
        """Return what counts of the limits that a process with `open_files` may lower, by path."""
        return {
            "limits.max_connections": self.connection_limit(open_files),
            "limits.max_live_readers": self.reader_limit(open_files),
        }
