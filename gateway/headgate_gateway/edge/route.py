"""A route to an HTTP origin: the requests it answers itself, and those it passes on."""

from __future__ import annotations

import contextlib
import pkgutil
from http import HTTPStatus
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.access import reader_keys
from headgate_gateway.edge import metrics
from headgate_gateway.edge.followed.followed_streams import FollowedStreams
from headgate_gateway.edge.origin_requests import EdgeTargets, MultiAppendSupport, OriginRequests
from headgate_gateway.edge.reads import decision
from headgate_gateway.edge.reads.http_cache import HttpCache
from headgate_gateway.errors import HeadgateError, StartError
from headgate_gateway.live.feed import park
from headgate_gateway.origin.client import Origin
from headgate_gateway.origin.servers import OriginSettings
from headgate_gateway.protocol.http import forwarding
from headgate_gateway.protocol.http.forwarding import READER_COOKIE, IdentityHeaders
from headgate_gateway.protocol.http.header_names import NEXT_OFFSET
from headgate_gateway.protocol.requests import LongPoll
from headgate_gateway.protocol.streams.limits import renew
from headgate_gateway.protocol.streams.offsets import TailBound
from headgate_gateway.routes.contract import StreamRoute
from headgate_gateway.rules import read_rules, repair
from headgate_gateway.rules.cached_response import stream_key
from headgate_gateway.rules.response_rules import ResponseRules
from headgate_gateway.rules.served_lifetimes import EVERYBODY, Recipient
from headgate_gateway.telemetry import traffic_metrics
from headgate_gateway.telemetry.health import Cause, HealthNote
from headgate_gateway.telemetry.metrics import Sample
from headgate_gateway.telemetry.rare_lines import OutageLine
from headgate_gateway.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from multidict import MultiMapping

    from headgate_gateway.live.contract import ParkableConnection
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.routes.contract import ParsedPoll
    from headgate_gateway.routes.feature import RouteFeature
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.runtime.write_journal import Write

PRIVATE = Recipient(is_private=True)  # everybody, on a route with a guard
# The repair of a response to a write: the end of the stream, where a repeated append lacks it.
END_OF_APPEND = "end"


class EdgeRoute(StreamRoute):
    """A route to an HTTP origin, with the route's cache, feeds and guard."""

    operations = "headgate_gateway.web.handlers.edge_handlers:EdgeHandlers"

    def __init__(self, setup: RouteSetup) -> None:
        route, services, access = setup.route, setup.services, setup.access
        self.prefix = route.prefix
        self.origin = Origin(OriginSettings.of(route), services.tracer)
        self._rules = rules = _rules_of(setup, self.origin)
        self.identity = rules.identity
        if setup.origin_requests:
            make: Callable[..., OriginRequests] = pkgutil.resolve_name(setup.origin_requests)
            self.requests = make(setup, self.origin, rules.identity)
        else:
            self.requests = OriginRequests(
                self.origin, rules.identity, services.via, services.scheme
            )
        self.access = self.requests.access(access)
        self.clock = services.clock
        self.services = services
        self.traffic = Traffic()
        has_keys, is_private = access.reader_keys is not None, access.is_private
        self.targets = EdgeTargets(route.drop_query, has_reader_keys=has_keys)
        freshness = setup.freshness(is_private=is_private)
        self.feeds = FollowedStreams(
            self.origin, setup.feeds, services, self.traffic, rules, freshness
        )
        self.cache = self.feeds.reader.cache = HttpCache(
            services.store,
            rules,
            self.requests.send,
            services.clock,
            self.feeds.knowledge(),
            self.traffic,
            self.recipient_at,
        )
        self.multi_append = MultiAppendSupport(self.origin)
        self.feeds.source.reader_keys = access.reader_keys
        self.features: dict[str, RouteFeature] = {}
        self._failures = OutageLine(
            "origin.failed", "origin.recovered", self.origin.figures.answer_count
        )

    @override
    def renew(self, setup: RouteSetup) -> bool:
        route, rules, of_feeds = setup.route, self._rules, self.feeds.origin.freshness
        renew(self.feeds.source.settings, setup.feeds)
        self.origin.renew(OriginSettings.of(route))
        self.access = self.requests.access(setup.access)
        renew(of_feeds, setup.freshness(is_private=of_feeds.is_private))
        is_other = renew(rules.freshness, setup.freshness(is_private=False))
        is_other |= rules.stale_if_error != route.stale_if_error
        rules.stale_if_error = route.stale_if_error
        if is_other:
            self.cache.fetches.results.clear()
        return is_other

    def log_failure(self, error: HeadgateError, path: str) -> None:
        """Log a failure of the origin: at once, then more and more rarely while it lasts."""
        self._failures.note(code=error.code, reason=error.detail, path=path)

    @staticmethod
    @override
    def checked(name: str) -> str:
        """Return `name`: the origin decides which names are valid."""
        return name

    @override
    def parse(self, target: str) -> Read:
        """Return the read that a target asks for. Raises BadRequest."""
        read = self.targets.parse(target)
        if isinstance(read, HeadgateError):
            raise type(read)(read.detail)
        keys = self.access.reader_keys
        return read if keys is None else keys.with_key(read, target)

    def recipient_of(self, read: Read) -> Recipient:
        """Return the recipient of the response to a read; reader keys tell recipients apart."""
        access = self.access
        if access.reader_keys is None:
            return PRIVATE if access.is_private else EVERYBODY
        read = reader_keys.renewed(access.reader_keys, read)
        return Recipient(access.is_private, read.reader_key, read.by_key)

    def recipient_at(self, path: str, reader_key: str | None) -> Recipient:
        """Return the recipient of a response, from a read's path and the reader key in its URL."""
        access = self.access
        keys = access.reader_keys
        if keys is None:
            return PRIVATE if access.is_private else EVERYBODY
        return Recipient(access.is_private, keys.of(path), keys.is_current(path, reader_key))

    async def missing_fields(
        self, method: str, read: Read, sent: MultiMapping[str], answer: OriginAnswer
    ) -> dict[str, str]:
        """Return the fields that the response to a request with the fields `sent` lacks.

        The offset after an append is asked for by a HEAD with the append's credentials.
        """
        if not repair.lacks_end(method, answer.status, answer.headers):
            return {}
        with contextlib.suppress(HeadgateError):  # the append was made, whether or not this fails
            fields = forwarding.end_to_end(sent, forwarding.OF_APPENDS)
            head = await self.origin.send("HEAD", read.target, fields)
            head.release()
            if head.status == HTTPStatus.OK and (end := head.headers.get(NEXT_OFFSET)):
                self._rules.repairs[END_OF_APPEND] += 1
                return {NEXT_OFFSET: end}
        return {}

    # Requests answered without a task

    cached_answer = staticmethod(decision.cached_answer)

    @override
    def park(
        self, connection: ParkableConnection, poll: ParsedPoll, headers: MultiMapping[str]
    ) -> bool:
        """Let a long-poll wait in a feed, or answer it with news; return False if neither works."""
        read = poll.read
        assert isinstance(read, LongPoll), "parsed by this route"
        if read.offset is None or "Via" in headers or self.identity.identifies(headers):
            return False
        assert isinstance(read.offset, str), "as the origin has given it"
        stream = self.feeds.peek(stream_key(headers.get("Host", ""), read, ""), read.offset)
        if stream is None:
            return False
        position = stream.state.start_of(read.offset)
        counted = self.traffic.polls[poll.resume_kind]
        if not stream.may_wait(position):
            news = self.feeds.source.rendered_recent(stream, read)
            if news is not None:
                wire, size = news
                connection.write(wire, size)
                counted.count_hit(size)
            return news is not None
        try:
            park(connection, self.feeds.join(stream), read, position, counted)
        except HeadgateError:
            return False
        return True

    def announce_write(self, write: Write) -> None:
        """Invalidate the copies that a write has outdated, here and in other workers."""
        self.invalidate(write)
        self.services.announce(write)

    # Interface to the process

    @override
    def invalidate(self, write: Write) -> None:
        """Drop cached responses that a write has outdated, and note how far the stream reaches."""
        reach = TailBound(write.tail or "", write.closed)
        if write.only_grown:
            self.cache.on_growth(write.path, reach)
        else:
            self.feeds.reader.forget(write.path)
        if write.created is not None:
            self.requests.lifetimes.created(write.path, write.created)
        if write.deleted or write.hidden:
            self.feeds.writes.on_delete(write.path, for_all=write.deleted)
        if write.is_new:
            self.feeds.writes.on_replaced(write.path, None)
        if write.tail is not None:
            self.feeds.writes.on_write(write.path, reach)

    @override
    def invalidate_all(self) -> None:
        """Cache nothing of requests under way, and ask again where each followed stream ends."""
        self.feeds.reader.forget_all()
        self.feeds.writes.start_all_over()

    @override
    def notes(self) -> Iterator[HealthNote]:
        """Yield why no server of the origin can be reached, and the notes of features."""
        servers = self.origin.servers
        cause = Cause.of("down" if servers.chosen is None else "failing", servers.why_unhealthy())
        yield HealthNote("origin", self.prefix, cause)
        yield from super().notes()

    @override
    def samples(self) -> Iterator[Sample]:
        compared, forgotten = self.feeds.origin.comparisons, self.feeds.evidence.forgotten
        yield from metrics.samples(self.prefix, self.origin, self.cache, compared, forgotten)
        yield from self.requests.samples(self.prefix)
        yield from traffic_metrics.samples(self.prefix, self.traffic)
        for feature in self.features.values():
            yield from feature.samples()
        if self.access.guard is not None:
            yield from traffic_metrics.decisions(self.prefix, self.traffic)
        yield Sample(traffic_metrics.FEEDS, (self.prefix,), len(self.feeds.table.by_key))
        yield Sample(
            traffic_metrics.REFUSALS, ("max_origin_requests",), self.origin.requests.refused
        )
        for name in (*read_rules.repairs(), END_OF_APPEND):
            yield Sample(traffic_metrics.REPAIRS, (self.prefix, name), self._rules.repairs[name])

    @override
    async def open(self) -> None:
        """Start checking the health of the origin's servers; raises StartError."""
        await self.origin.open()
        self.requests.open()
        try:
            await self.open_features()
        except StartError:
            await self.origin.close()
            raise

    @override
    async def drain(self) -> None:
        for feature in self.features.values():
            feature.drain()
        await self.feeds.drain()

    @override
    async def close(self) -> None:
        """End the requests at the origin, and every connection to it."""
        self.feeds.close()
        for feature in self.features.values():
            await feature.close()
        await self.requests.close()
        await self.cache.close()
        await self.origin.close()
        self._failures.close()  # last, because requests that end before may fail


def _rules_of(setup: RouteSetup, origin: Origin) -> ResponseRules:
    """Return the rules for the origin's responses by the settings of a route."""
    route = setup.route
    # These headers distinguish readers, without our own cookie.
    cookie = READER_COOKIE if setup.access.guard is not None else ""
    return ResponseRules(
        freshness=setup.freshness(is_private=False),
        stale_if_error=route.stale_if_error,
        via=setup.services.via,
        identity=IdentityHeaders(
            route.identity_headers, route.drop_headers, verified_cookie=cookie
        ),
        located=origin.servers.location,
    )
