"""The contract of a route: what the listener and the console need of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec
from multidict import MultiMapping

from headgate_gateway.access.principal import Principal
from headgate_gateway.errors import LogUnavailable, StartError
from headgate_gateway.protocol.streams.offsets import long_over_at
from headgate_gateway.telemetry.health import HealthNote
from headgate_gateway.telemetry.traffic import resume_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.live.contract import ParkableConnection
    from headgate_gateway.protocol.http.forwarding import IdentityHeaders
    from headgate_gateway.protocol.requests import LongPoll, Read
    from headgate_gateway.routes.feature import RouteFeature
    from headgate_gateway.routes.services import Services
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.runtime.request_fields import Own
    from headgate_gateway.runtime.write_journal import Write
    from headgate_gateway.telemetry.metrics import Sample
    from headgate_gateway.telemetry.traffic import Hits, Traffic

    CachedAnswer = tuple[int, bytes, bytes, Hits]  # status, head, body, and the counter of hits


class PlainGet(msgspec.Struct, frozen=True, eq=False):
    """A GET that may get a cached response; equal requests share it."""

    target: str
    path: str  # that of the target
    headers: MultiMapping[str]
    key: tuple[str, str]  # host and target, by which responses of HTTP origins are cached
    connection: bytes  # the header line Connection of its response
    is_last: bool  # the connection ends with the answer
    route: StreamRoute
    principal: Principal | None = None  # as the route's guard has admitted it; None on an open one
    reader_key: str | None = None  # in its URL; `key` lacks it
    is_poll: bool = False  # a long-poll that had to wait
    is_of_nginx: bool = False  # with a rendered file, so that it gets X-Accel-Expires


class ParsedPoll:
    """A parsed long-poll, shared by all with the same target.

    From the time `long_over_at` (epoch seconds) on its cursor is too old. `position` is where its
    route parks such polls; only the route reads it, and checks that it is still right.
    """

    __slots__ = ("long_over_at", "name", "position", "read", "resume_kind", "route")

    def __init__(self, route: StreamRoute, name: str, read: LongPoll) -> None:
        self.route = route
        self.name = name
        self.read = read
        self.resume_kind = resume_kind(read.offset)
        self.long_over_at = long_over_at(read.cursor)
        self.position: Any = None


class StreamRoute(Protocol):
    """The streams below one prefix; methods that most kinds do not need have a default."""

    prefix: str
    access: RouteAccess
    clock: Callable[[], float]  # epoch seconds
    identity: IdentityHeaders
    traffic: Traffic
    operations: ClassVar[str]  # the name of what makes its RouteOperations of Plans and Services
    features: dict[str, RouteFeature]  # by name, in their order
    has_streams: bool = True  # of its own
    serves_prefix: bool = False  # there are requests for the prefix itself

    def checked(self, name: str) -> str:
        """Return the name of a stream; raises HeadgateError if it cannot be one."""

    def control(self, name: str) -> RouteFeature | None:
        """Return the feature with this control path; None for the name of a stream.

        Of several, the one whose control path is the longest has it.
        """
        found = (it for it in self.features.values() if it.has_path(name))
        return max(found, key=lambda it: len(it.control), default=None)

    def parse(self, target: str) -> Read:
        """Parse the target of a GET as a read; raises HeadgateError."""

    # Called without a request object or a task. False or None means that nothing was done.

    @staticmethod
    def cached_answer(
        services: Services, get: PlainGet, own: Own, now: float
    ) -> CachedAnswer | None:
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

    def renew(self, setup: RouteSetup) -> bool:  # noqa: ARG002 - for routes to streams
        """Follow new settings and access; return whether cached responses are outdated."""
        return False

    def end_readers(self) -> None:
        """End the live readers at an event: they come back, and the new access is applied.

        By default nothing is done: a route without streams has none.
        """
        return

    def invalidate(self, write: Write) -> None:
        """Drop what a write through this worker or another one has made stale."""

    def invalidate_all(self) -> None:
        """Treat everything outside the cache as stale: writes through other workers were missed.

        By default nothing is done: a log confirms what is not in the cache before it is served.
        """
        return

    def readiness(self) -> Iterable[HealthNote]:
        """Return the checks that readiness depends on; by default none."""
        return ()

    def notes(self) -> Iterable[HealthNote]:
        """Return the checks that readiness does not depend on: by default those of features."""
        for feature in self.features.values():
            for kind, cause in feature.notes().items():
                yield HealthNote(kind, self.prefix, cause)

    def samples(self) -> Iterable[Sample]:
        """Return the route's metrics as they are now."""

    async def open(self) -> None:
        """Prepare the route to serve; raises StartError."""

    async def open_features(self) -> None:
        """Let the features begin, once the route can be used; raises StartError."""
        for name, feature in list(self.features.items()):
            try:
                await feature.open()
            except (LogUnavailable, StartError) as error:
                raise StartError(f"{name} of {self.prefix}: {error.detail}") from error

    async def drain(self) -> None:
        """End the responses of all live readers, and wait for writes under way."""

    async def close(self) -> None:
        """Release all resources, after the last request."""
