"""What every route and connection of a process shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.store import Store
    from gateway.web.common_lines import CommonLines
    from gateway.web.limits import Limits
    from gateway.web.requests_log import RequestsLog


class Timeouts(NamedTuple):
    """In seconds: for a request's head, between parts of its body, and the longest own wait."""

    header: float
    body: float
    longest_wait: float


class Shared:
    """The clock (epoch seconds), the cache, the bounds, and how answers begin and are logged."""

    def __init__(
        self,
        clock: Callable[[], float],
        store: Store,
        limits: Limits,
        lines: CommonLines,
        log: RequestsLog,
        timeouts: Timeouts,
    ) -> None:
        self.clock = clock
        self.store = store
        self.limits = limits
        self.lines = lines
        self.log = log
        self.timeouts = timeouts
        self.closing = False  # answers are the last of their connections, as the server stops
