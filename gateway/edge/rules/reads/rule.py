"""The declaration of a rule for an origin's response to a read."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - the type of a field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from multidict import CIMultiDict

from gateway.edge.rules.cached_response import CacheRequest
from gateway.protocol.origins.repair import StreamRead

if TYPE_CHECKING:
    from gateway.edge.rules.lost_offsets import LostOffsets, ReplicaLag
    from gateway.protocol.cache_headers import Freshness


class RouteState(Protocol):
    """The settings and the observations of a route that rules depend on."""

    @property
    def freshness(self) -> Freshness:
        """The lifetimes that responses get."""

    @property
    def ignore_no_store(self) -> bool:
        """True if a no-store of the origin is ignored."""

    @property
    def lag(self) -> ReplicaLag:
        """The reads in which the stream ended before the offset: a replica may lag."""

    @property
    def lost(self) -> LostOffsets:
        """The offsets of streams that are gone."""


class ReadResponse(msgspec.Struct):
    """An origin's response to a read of a stream, which the rules change one after the other."""

    route: RouteState
    request: CacheRequest
    facts: StreamRead
    fields: CIMultiDict[str]
    answered: float  # epoch seconds
    origin_directives: list[tuple[str, str]] = msgspec.field(
        default_factory=list
    )  # a lifetime that was capped
    is_ours: bool = False  # the lifetime is the route's: the origin has sent none


class ReadRule(NamedTuple):
    """A rule: `apply` changes the fields of a response, and returns whether it did.

    It raises a HeadgateError to refuse the response. A change is counted as the `repair` of this
    name in the metrics and on the console; a rule that only refuses has none.

    The result for one response is reused for responses that differ only in volatile fields, such
    as the offset (`judged_heads`): so a rule may depend on the other fields only.
    """

    repair: str
    apply: Callable[[ReadResponse], bool]
