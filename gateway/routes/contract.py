"""The contract of a route: what the listener and the console need of every kind.

A feature adds to a route by one door, `RouteFeature`: a route knows no more of a feature.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from multidict import MultiMapping

from gateway.access.principal import Principal
from gateway.errors import LogUnavailable, StartError
from gateway.protocol.streams.offsets import long_over_at
from gateway.telemetry.traffic import resume_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from gateway.access.contract import Guard
    from gateway.access.reader_keys import ReaderKeys
    from gateway.live.contract import ParkableConnection
    from gateway.protocol.http.forwarding import IdentityHeaders
    from gateway.protocol.requests import LongPoll, Read
    from gateway.routes.services import Services
    from gateway.runtime.request_fields import Own
    from gateway.runtime.write_journal import Write
    from gateway.telemetry.metrics import Sample
    from gateway.telemetry.traffic import Hits, Traffic

    KeptAnswer = tuple[int, bytes, bytes, Hits]  # status, head, body, and the counter of hits
    Checks = Mapping[str, str | None]  # by name: None where all is well, else what is wrong


class Entrance(NamedTuple):
    """A place where clients of a feature connect, as the front page and refusals of paths name it.

    `key` names it in JSON, `who` are its clients and `what` is a sentence about it. `name` is a
    control path.
    """

    key: str
    who: str
    what: str
    name: str


class RouteFeature:
    """The part of a feature that belongs to one route; each overrides only what it has."""

    # A part of all its control paths: where a path has none of these parts, no feature is looked
    # for. "" for a feature without control paths.
    control_mark = ""
    no_stream = ""  # what a read of a control path is told
    entrance: Entrance | None = None

    def has_path(self, name: str) -> bool:  # noqa: ARG002 - for features with control paths
        """Return whether a name below the prefix is a control path, and names no stream."""
        return False

    def operate(
        self,
        request: Any,  # noqa: ANN401 - that of gateway.web, which is above
        target: str,
        route: Any,  # noqa: ANN401 - a StreamRoute, which is above
        name: str,
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine of the RouteAnswer to a request to a control path."""
        raise NotImplementedError

    def notes(self) -> Mapping[str, str | None]:
        """Return the checks for operators, by names to which the prefix is added."""
        return {}

    def samples(self) -> Iterable[Sample]:
        """Return the metrics of the feature as they are now."""
        return ()

    async def open(self) -> None:
        """Begin, once the route can be used. Raises LogUnavailable, StartError."""

    def drain(self) -> None:
        """End responses that would last: their clients come back elsewhere."""

    async def close(self) -> None:
        """Release all resources, after the last request and before the route does."""


class PlainGet(msgspec.Struct, frozen=True):
    """A GET that may share a cached response, with what all equal ones have in common."""

    target: str
    headers: MultiMapping[str]
    key: tuple[str, str]  # host and target, by which responses of HTTP origins are cached
    connection: bytes  # the header line Connection of its response
    is_last: bool  # the connection ends with the answer
    route: StreamRoute
    principal: Principal | None = None  # as the route's guard has admitted it; None on an open one
    reader_key: str | None = None  # that its URL has; `key` is without it
    is_poll: bool = False  # it was a long-poll that had to wait


class ParsedPoll:
    """A long-poll as its target has it, which all equal ones share.

    From the time `long_over_at` (epoch seconds) on its cursor is too old. `place` is where its
    route lets such wait; the route alone reads it, and checks that it still holds.
    """

    __slots__ = ("long_over_at", "name", "place", "read", "resume_kind", "route")

    def __init__(self, route: StreamRoute, name: str, read: LongPoll) -> None:
        self.route = route
        self.name = name
        self.read = read
        self.resume_kind = resume_kind(read.offset)
        self.long_over_at = long_over_at(read.cursor)
        self.place: Any = None


class RouteAccess(NamedTuple):
    """The access to a route: open to all without a guard.

    With `conceals`, clients that the guard refuses get a 404. Shared caches may not store the
    responses of a private route, except those to URLs with one of the `reader_keys`.
    """

    guard: Guard | None = None
    is_private: bool = False
    conceals: bool = False
    reader_keys: ReaderKeys | None = None


OPEN = RouteAccess()


class StreamRoute(Protocol):
    """The streams below one prefix; each kind of route implements this, in a package of its own.

    What many kinds have nothing to say to has a default.
    """

    prefix: str
    access: RouteAccess
    clock: Callable[[], float]  # epoch seconds
    identity: IdentityHeaders
    traffic: Traffic
    features: Mapping[str, RouteFeature] = MappingProxyType({})  # by name, in their order
    has_streams: bool = True  # of its own
    serves_prefix: bool = False  # there are requests for the prefix itself

    def checked(self, name: str) -> str:
        """Return the name of a stream; raises HeadgateError where it cannot be one."""

    def control(self, name: str) -> RouteFeature | None:
        """Return the feature with this control path; None for the name of a stream."""
        return next((it for it in self.features.values() if it.has_path(name)), None)

    def parse(self, target: str) -> Read:
        """Parse the target of a GET as a read; raises HeadgateError."""

    # Called without a request object or a task. False or None means that nothing was done.

    @staticmethod
    def cached_answer(services: Services, get: PlainGet, own: Own, now: float) -> KeptAnswer | None:
        """Return the fresh cached response to `get`, for any route of this kind."""

    def park(
        self,
        connection: ParkableConnection,
        poll: ParsedPoll,
        headers: MultiMapping[str],
        /,
    ) -> bool:
        """Let a long-poll at the tail wait, or answer it now; False if neither is possible."""

    # For other parts of the process

    def invalidate(self, write: Write) -> None:
        """Drop what a write has made stale, which came through this worker or another one."""

    def invalidate_all(self) -> None:
        """Treat everything outside the cache as stale: writes through other workers were missed.

        By default nothing is done: a log confirms what is not in the cache before it is served.
        """
        return

    def readiness(self) -> Checks:
        """Return the checks that readiness depends on; by default none."""
        return {}

    def notes(self) -> Checks:
        """Return the checks for operators that readiness does not depend on; by default none."""
        return {}

    def samples(self) -> Iterable[Sample]:
        """Return the route's metrics as they are now."""

    async def open(self) -> None:
        """Prepare the route to serve; raises StartError."""

    async def open_features(self) -> None:
        """Let the features begin, once the route can be used; raises StartError."""
        for name, feature in self.features.items():
            try:
                await feature.open()
            except (LogUnavailable, StartError) as error:
                raise StartError(f"{name} of {self.prefix}: {error.detail}") from error

    async def drain(self) -> None:
        """End the responses of all live readers, and wait for writes under way."""

    async def close(self) -> None:
        """Release all resources, behind the last request."""


class RoutedTarget(NamedTuple):
    """A canonical target with its path, its route and the name of its stream.

    With `control`, the name is that of a control path of this feature.
    """

    target: str
    path: str
    route: StreamRoute
    name: str
    control: RouteFeature | None = None
