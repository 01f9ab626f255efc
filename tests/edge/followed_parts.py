"""The parts of a followed stream, for tests without a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

from multidict import CIMultiDict

from headgate_gateway.edge.followed.evidence import NewestData
from headgate_gateway.edge.followed.known_state import KnownState, Verification
from headgate_gateway.edge.followed.origin_reads import ReaderRequests
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules.cached_response import CacheRequest
from headgate_gateway.rules.followed import Snapshot

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.recent_window import RecentWindow

KIND = "text/plain"
NOTHING: CIMultiDict[str] = CIMultiDict()


def reading(
    target: str = "/s", fields: CIMultiDict[str] = NOTHING, admitted_as: str = ""
) -> CacheRequest:
    read = CatchUp(target, target, None)
    return CacheRequest("h", read, fields, fields, "", "", Lifetime(), admitted_as)


def state_of(window: RecentWindow, request: CacheRequest) -> KnownState:
    """Return the state of a stream that ends with its window, and is up to date."""
    return KnownState(
        Snapshot(request.path, KIND, window.tail, closed=False, caught_up=True),
        Mock(),
        Verification(window),
        ReaderRequests(request),
        Freshness(),
        NewestData(),
        has_tail=True,
    )
