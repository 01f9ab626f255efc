"""Histograms of a log's commits: their sizes, and where their time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.protocol.streams.state import Change

APPENDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # up to the largest batch of one stream
# Seconds, from a tenth of a millisecond: an append to memory, and a group commit to a fast disk.
BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),
)


class CommitHistograms:
    """Histograms: appends per group (what a log stores in one step), and seconds per phase.

    A commit waits in `queue` until its group begins. `write` is until the log has all of the group,
    `sync` until that is durable, for logs which can tell the two apart.
    """

    __slots__ = ("appends", "queue", "sync", "write")

    def __init__(self) -> None:
        self.appends = Histogram(APPENDS)
        self.queue = Histogram(BOUNDS_S)
        self.write = Histogram(BOUNDS_S)
        self.sync = Histogram(BOUNDS_S)

    def stored(self, changes: Sequence[Change]) -> None:
        """Observe the number of appends in a group that was stored, if it has any."""
        appends = 0
        for change in changes:
            appends += change.appends
        if appends:
            self.appends.observe(appends)

    def by_name(self, *names: str) -> Mapping[str, Histogram]:
        """Return the histograms of these names, the only ones that a kind of log fills."""
        return {name: getattr(self, name) for name in names}
