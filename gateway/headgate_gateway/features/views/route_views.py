"""The views of one route's streams: their feeds, and the responses to reads of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace
from typing_extensions import override

from headgate_gateway.access.reader_keys import renewed
from headgate_gateway.errors import BadRequest
from headgate_gateway.features.views import rendering
from headgate_gateway.features.views.rendering import STORE_BYTES, RenderingStore
from headgate_gateway.features.views.view_feed import Replays, ViewFeed, ViewSource, render_chunk
from headgate_gateway.protocol import cache_headers, http1, responses
from headgate_gateway.protocol.bodies.content import is_text
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET
from headgate_gateway.protocol.http.repeated_fields import with_vary
from headgate_gateway.protocol.streams.chunks import Chunk
from headgate_gateway.protocol.streams.limits import renew
from headgate_gateway.protocol.views import AI_SDK, END_MARK, RENDERED, SSE, TEXT
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.routes.feature import RouteFeature
from headgate_gateway.runtime.single_flight import SingleFlight
from headgate_gateway.settings.reading.units import YEAR_S
from headgate_gateway.web.handlers import live_responses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.features.views.rendering import ViewRendering
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.requests import Events, Read
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.protocol.views import View
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.streams.feeds import HostedFeeds
    from headgate_gateway.streams.follower import HostedFeed
    from headgate_gateway.streams.reads import LiveRead
    from headgate_gateway.streams.route import HostedRoute
    from headgate_gateway.telemetry.metrics import Sample
    from headgate_gateway.web.requests.request import Request

# Part of ETags: raise it when the same stream makes other bytes, so that no cache mixes both.
VERSION = 2


def _type_lines(view: str, content_type: str) -> str:
    if view == TEXT:
        return "Content-Type: text/plain; charset=utf-8\r\n"
    # Dialects are text, whatever the stream holds.
    lines = responses.events_type(content_type if view == SSE else "text/plain")
    return f"{lines}x-vercel-ai-ui-message-stream: v1\r\n" if view == AI_SDK else lines


def live_view(view: str, content_type: str, *, private: bool, has_trailers: bool) -> Response:
    """Return the head of a view that goes on."""
    trailer = f"Trailer: {NEXT_OFFSET}, {CLOSED}\r\n" if view == TEXT and has_trailers else ""
    return responses.live_response(_type_lines(view, content_type) + trailer, private=private)


def whole_view(
    read: Read, state: StreamState, start: int, freshness: Freshness, now: float, body: bytes
) -> Response:
    """Return the view of a closed stream from a position on: a response that ends at once.

    An EventSource that comes back for more names its place in a field, which some caches take no
    notice of, so they must ask for each response with plain events.
    """
    view, chunk = read.view.name, Chunk(state, start, state.tail, ())
    freshness = freshness.toward(read.by_key, read.path)
    caching = cache_headers.lifetime_of(chunk, read, freshness, now)
    if view == SSE and not freshness.is_private:
        caching = cache_headers.NO_CACHE
    lines = _type_lines(view, state.content_type)
    if view != TEXT:
        caching = with_vary(caching, "Last-Event-ID")
    end = responses.end_of(chunk)
    tag = f"{state.stream_id:x}:{view}.{VERSION}:{state.offset(start)}:{end.offset}"
    return responses.read_response(read, now, end, caching, lines=lines, body=body, tag=tag)


# A closed stream over an eighth of the memory is sent while it is rendered, others in one piece.
LARGEST_SHARE = 8

LONGEST_S = float(YEAR_S)  # of a response; it ends with its stream or client, or with the server


class RouteViews(RouteFeature):
    """The views of a route, whose renderings share one memory."""

    views = RENDERED

    def __init__(self, route: HostedRoute, made: RouteSetup) -> None:
        self.store = RenderingStore(STORE_BYTES)
        self._route = route
        self._services = made.services
        self._replays = Replays(route.table, self.store)
        self._whole: SingleFlight[ViewRendering] = SingleFlight()
        self._feeds: dict[HostedFeed, ViewFeed] = {}
        self._for_events, self._for_text = replace(made.feeds), replace(made.feeds)
        self.renew(made)
        route.feeds.views = self
        route.table.caches.derived.append(self.drop)

    @override
    def renew(self, made: RouteSetup) -> None:
        for_events = replace(made.feeds, sse_max_age=LONGEST_S)
        renew(self._for_events, for_events)
        renew(self._for_text, replace(for_events, heartbeat=float(YEAR_S)))

    # Reads

    async def respond(self, request: Request, read: Events, live: LiveRead) -> RouteAnswer | None:
        """Return the response, or None once the feed has the connection. Raises HeadgateError."""
        route, state = self._route, live.state
        self._check(read.view, state.content_type)
        read = renewed(route.access.reader_keys, read)
        if state.closed:
            answer = await self._whole_answer(request, read, live)
            if answer is not None:
                return answer
        live_responses.check_open(request)
        await self._prepare(state, read.view)
        live_responses.check_open(request)
        join = partial(route.feeds.join, live.active, state, read.view)
        is_private = route.freshness.toward(None, read.path).is_private
        name, has_trailers = read.view.name, http1.accepts_trailers(request.headers)
        head = live_view(name, state.content_type, private=is_private, has_trailers=has_trailers)
        live_responses.stream_events(
            request, self._services, join, head, read, state.offset(live.start)
        )
        return None

    @staticmethod
    def _check(view: View, content_type: str) -> None:
        """Raise BadRequest if a stream of this type has no such view."""
        if view.name != SSE and not is_text(content_type):
            raise BadRequest(
                f"view={view.name} is for streams of text in UTF-8, of JSON or of events: this one "
                f"is {content_type}"
            )

    async def _prepare(self, state: StreamState, view: View) -> None:
        """Read the beginning of a stream, while an error can still be sent as a status.

        Raises HeadgateError.
        """
        if state.tail > state.first and not self.store.is_in_use(view.name, state):
            await self._route.table.read(state, state.first)

    async def _whole_answer(
        self, request: Request, read: Events, live: LiveRead
    ) -> RouteAnswer | None:
        """Return the response with a closed stream; None if it is too long for one piece."""
        route, state, now = self._route, live.state, self._route.clock()
        has_everything = read.last_event_id.endswith(END_MARK)
        if has_everything and read.view.name != TEXT and live.start == state.tail:
            # A 204 stops a browser's reconnects.
            ended = responses.poll_ended(state, read, route.freshness, now)
            return RouteAnswer.of(ended, cache_status.BYPASS)
        body = await self._body(state, read.view, live.start)
        if body is None:
            return None
        response = whole_view(read, state, live.start, route.freshness, now, body)
        tag = request.headers.get("If-None-Match")
        if tag is not None and cache_headers.matches(tag, response.tag):
            facts = replace(response.facts, is_end=False)
            response = responses.Response(304, response.fields, facts=facts)
        return RouteAnswer.of(response, cache_status.MISS)

    # Live

    def feed(self, state: StreamState, view: View, owner: HostedFeeds) -> HostedFeed:
        """Return a feed for the readers of a view."""
        rendering = self.store.acquire(view.name, state)
        settings = self._for_text if view.name == TEXT else self._for_events
        rest = self._replays, settings, self._services, self._route.traffic
        source = ViewSource(rendering, *rest)
        feed = ViewFeed(state, source, owner.on_feed_empty, self._route.table)
        self._feeds[feed] = feed
        return feed

    def feed_ended(self, feed: HostedFeed) -> None:
        """Keep the rendering of a feed that ended for later readers."""
        ended = self._feeds.pop(feed, None)
        if ended is not None:
            ended.stop()
            self.store.release(ended.rendering)

    # Closed streams

    async def _body(self, state: StreamState, view: View, start: int) -> bytes | None:
        """Return the view of a closed stream from a position on.

        None if it is so long, or read by so many, that it has to be sent while it is rendered.
        Raises HeadgateError.
        """
        key = view.name, state.stream_id, state.history, state.version
        is_sent_live = key not in self._whole.under_way and self.store.is_in_use(view.name, state)
        if state.size > self.store.max_bytes // LARGEST_SHARE or is_sent_live:
            return None
        rendering = await self._whole.read(key, lambda: self._rendered(state, view))
        offset, parts = state.offset(start), list[bytes]()
        if not rendering.has(offset):
            return None
        while (piece := rendering.piece(offset)) is not None:
            parts.append(piece.rendered)
            offset = piece.end
        return b"".join(parts)

    async def _rendered(self, state: StreamState, view: View) -> ViewRendering:
        rendering = self.store.acquire(view.name, state)
        try:
            while rendering.position < state.tail:
                await render_chunk(rendering, state, self._route.table)
            rendering.close(state)
        finally:
            self.store.release(rendering)
        return rendering

    # As a part of its route

    def drop(self, stream_id: int | None) -> None:
        """Drop what was rendered of a stream that has changed or is gone; of all for None."""
        if stream_id is None:
            self.store.clear()
        else:
            self.store.forget(stream_id)

    @override
    def samples(self) -> Iterator[Sample]:
        yield from rendering.samples(self._route.prefix, self.store)
