"""The route to a log: it creates the parts that serve its streams, and is their interface.

Handlers and the fast path find it by its prefix; the process opens, drains and closes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from typing_extensions import override

from headgate_gateway.errors import (
    BadRequest,
    HeadgateError,
    NotOffered,
    StreamNotFound,
)
from headgate_gateway.live.feed import park
from headgate_gateway.logs.registry import log_for
from headgate_gateway.protocol import responses
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.protocol.http.paths import RESERVED
from headgate_gateway.protocol.requests import parse_target
from headgate_gateway.protocol.streams.limits import LifetimeLimits, Retention, renew
from headgate_gateway.protocol.views import RAW
from headgate_gateway.routes.contract import StreamRoute
from headgate_gateway.runtime.write_journal import Write
from headgate_gateway.store import Caches
from headgate_gateway.streams import metrics
from headgate_gateway.streams.clock import StreamClock
from headgate_gateway.streams.feeds import HostedFeeds, PollPosition
from headgate_gateway.streams.lifecycle import Lifecycle, Sweeper
from headgate_gateway.streams.reads import HostedReads, cached_answer
from headgate_gateway.streams.stream_table import StreamTable
from headgate_gateway.streams.writes import WriteQueue
from headgate_gateway.telemetry import traffic_metrics
from headgate_gateway.telemetry.health import Cause, HealthNote
from headgate_gateway.telemetry.metrics import Sample
from headgate_gateway.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.live.contract import ParkableConnection
    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.contract import ParsedPoll
    from headgate_gateway.routes.feature import RouteFeature
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.settings import Route
    from headgate_gateway.streams.stream_table import Remover


class HostedRoute(StreamRoute):
    """The parts that serve the streams of one log, under one prefix."""

    operations = "headgate_gateway.web.handlers.hosted_handlers:HostedHandlers"

    def __init__(self, setup: RouteSetup, log: Log) -> None:
        services, access = setup.services, setup.access
        self.prefix = setup.route.prefix
        self.access = access
        self.identity = IdentityHeaders()
        self.freshness = setup.freshness(is_private=access.is_private)
        self.traffic = Traffic()
        self._services = services
        self.clock = services.clock
        follows_wall = log.sharing is not None
        clock = StreamClock(
            services.clock, services.running, follows_wall=follows_wall, route=self.prefix
        )
        self.table = StreamTable(log, clock, Caches(services.store))
        keys, (retention, lifetimes) = access.reader_keys, _limits_of(setup.route)
        if keys is not None:
            keys.caches.add(self.table.caches)
        count = self.traffic.count_stored
        self.lifecycle = Lifecycle(self.table, retention, lifetimes)
        self.writes = WriteQueue(self.table, self.lifecycle, services.limits, count)
        self.table.removal_observers.append(self._on_removal)
        self.reads = HostedReads(
            self.table, self.freshness, services, keys, self.traffic, retention
        )
        self.feeds = HostedFeeds(self.reads, setup.feeds)
        self.sweeper = Sweeper(self.table, self.lifecycle)
        self.features: dict[str, RouteFeature] = {}

    @override
    def renew(self, setup: RouteSetup) -> bool:
        access, log = setup.access, self.table.log
        is_other = renew(self.freshness, setup.freshness(is_private=access.is_private))
        retention, lifetimes = _limits_of(setup.route)
        renew(self.lifecycle.retention, retention)
        renew(self.lifecycle.lifetimes, lifetimes)
        if log.quota is not None:
            log.quota.limit(setup.route.max_storage_size)
        renew(self.feeds.source.settings, setup.feeds)
        self.access = access
        self.reads.reader_keys = access.reader_keys
        if access.reader_keys is not None:
            access.reader_keys.caches.add(self.table.caches)
        return is_other

    @override
    def end_readers(self) -> None:
        self.feeds.end_readers()

    @override
    def checked(self, name: str) -> str:
        """Return the name of a stream; raises HeadgateError for none, or one that is reserved."""
        if not name:
            raise StreamNotFound(f"a stream has a name: {self.prefix}/NAME")
        if name.endswith("/"):
            raise BadRequest("the path has an empty segment")
        for feature in self.features.values():
            if feature.control and feature.control in name and feature.has_path(name):
                raise StreamNotFound(feature.no_stream)
        if name.split("/", 1)[0] == RESERVED:
            raise NotOffered("subscriptions are not offered for streams of this log")
        return name

    @override
    def parse(self, target: str) -> Read:
        """Parse a target as a read; raises HeadgateError."""
        read = parse_target(target)
        if isinstance(read, HeadgateError):
            raise type(read)(read.detail)
        if read.view.name != RAW:
            self._load_view(read.view.name)
        keys = self.access.reader_keys
        return read if keys is None else keys.with_cache_target(read, target)

    def _load_view(self, name: str) -> None:
        """Load the feature that renders a view, before its first read."""
        for feature in self.features.values():
            if name in feature.views:
                feature.loaded()

    def with_key(self, response: Response, name: str) -> Response:
        """Add the stream's reader key, if there is one, to a response to a permitted reader."""
        keys = self.access.reader_keys
        if keys is None:
            return response
        line = responses.key_line(keys.of(f"{self.prefix}/{name}"))
        return replace(response, fields=f"{response.fields}{line}")

    # Without a task

    cached_answer = staticmethod(cached_answer)

    @override
    def park(
        self, connection: ParkableConnection, poll: ParsedPoll, _headers: Mapping[str, str]
    ) -> bool:
        """Add a long-poll to the feed if its offset is the tail or still in the feed."""
        found: PollPosition | None = poll.position
        try:
            if (
                found is None
                or found.active.state is not found.state
                or found.active.follower is None  # it may have been dropped from the table
            ):
                found = self.feeds.find_position(poll)
                if found is None:
                    return False
            feed = self.feeds.join(found.active, found.state, poll.read.view)
            counted = self.traffic.polls[poll.resume_kind]
            park(connection, feed, poll.read, found.position, counted)
        except HeadgateError:
            return False
        return True

    # Caches

    @override
    def invalidate(self, write: Write) -> None:
        """Drop a removed stream at once, since the log takes time to report its removal."""
        if write.removed_id is not None:
            self.table.drop(write.path.removeprefix(f"{self.prefix}/"), write.removed_id)

    def _on_removal(self, name: str, stream_id: int, remover: Remover) -> None:
        if remover == "elsewhere":
            return  # the process that removed it announces and purges it
        path = f"{self.prefix}/{name}"
        self._services.announce(Write(prefix=self.prefix, path=path, removed_id=stream_id))
        self._services.front_caches.purge(self.prefix, path)

    # As a part of the process

    @override
    def readiness(self) -> Iterator[HealthNote]:
        """Yield the check of the log: why it is away, or None; none while it is read-only."""
        if not self.table.log.is_read_only():
            yield HealthNote("log", self.prefix, Cause.of("away", self.table.log.why_unhealthy()))

    @override
    def notes(self) -> Iterator[HealthNote]:
        """Yield a loss of data, and why the log takes no appends: it still serves reads."""
        log, quota = self.table.log, self.table.log.quota
        reads_only = Cause.of("read_only", log.why_unhealthy()) if log.is_read_only() else None
        full = None if quota is None else quota.cause()
        for kind, cause in (("log", reads_only), ("loss", log.loss()), ("quota", full)):
            if cause is not None:
                yield HealthNote(kind, self.prefix, cause)
        yield from (note for note in super().notes() if note.cause is not None)

    @override
    def samples(self) -> Iterator[Sample]:
        """Yield the metrics of the log and of its queues."""
        yield from metrics.samples(self.prefix, self.writes)
        yield from traffic_metrics.samples(self.prefix, self.traffic)
        if self.access.guard is not None:
            yield from traffic_metrics.decisions(self.prefix, self.traffic)
        for feature in self.features.values():
            yield from feature.samples()
        yield Sample(traffic_metrics.FEEDS, (self.prefix,), self.feeds.count)
        refused = self.writes.refused_for_room
        yield Sample(traffic_metrics.REFUSALS, ("max_pending_appends",), refused)
        if self.reads.refetches is not None:
            yield Sample(metrics.REFETCHES, (self.prefix,), self.reads.refetches.count)
        quota = self.table.log.quota
        if quota is not None and quota.max_bytes:
            yield Sample(traffic_metrics.REFUSALS, ("max_storage_size",), quota.refused)
            yield Sample(metrics.USED, (self.prefix,), quota.used)
            yield Sample(metrics.MOST, (self.prefix,), quota.max_bytes)

    @override
    async def open(self) -> None:
        """Open the log; raises StartError."""
        log = self.table.log
        await log.open()
        self.table.clock.start(log.noted_clocks())
        await self.open_features()
        self.sweeper.start()

    @override
    async def drain(self) -> None:
        """Disconnect all live readers, and wait for them and for the writes under way."""
        for feature in self.features.values():
            feature.drain()
        await self.feeds.drain()
        await self.writes.outcomes.idle.wait()

    @override
    async def close(self) -> None:
        """Close the log."""
        await self.sweeper.stop()
        self.sweeper.note()
        for feature in self.features.values():
            await feature.close()
        await self.table.log.close()


def hosted_route(setup: RouteSetup) -> HostedRoute:
    """Return a route to the log that its settings name. Raises StartError."""
    return HostedRoute(setup, log_for(setup.route))


def _limits_of(route: Route) -> tuple[Retention, LifetimeLimits]:
    """Return how long data stays in the streams of a route, and how long its streams live."""
    retention = Retention(route.retention_age, route.retention_size, route.retention_messages)
    return retention, LifetimeLimits(route.default_ttl, route.max_ttl)
