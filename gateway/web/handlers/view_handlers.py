"""Answer reads of views: whole where a stream is closed, else by the feed of the view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.access.reader_keys import renewed
from gateway.protocol import cache_headers, responses, view_responses
from gateway.protocol.http import cache_status
from gateway.protocol.views import END_MARK, TEXT
from gateway.runtime.answer import RouteAnswer
from gateway.views.route_views import RouteViews
from gateway.web.handlers import live_responses

if TYPE_CHECKING:
    from gateway.hosted.feeds import LiveRead
    from gateway.hosted.route import HostedRoute
    from gateway.protocol.requests import Events
    from gateway.runtime.context import Context
    from gateway.web.requests.request import Request


async def respond(
    request: Request, shared: Context, route: HostedRoute, read: Events, live: LiveRead
) -> RouteAnswer | None:
    """Return the response, or None once the feed has the connection. Raises HeadgateError."""
    views, state = route.feeds.views, live.state
    assert isinstance(views, RouteViews), "each route to a log has them"
    views.check(read.view, state.content_type)
    read = renewed(route.access.reader_keys, read)
    if state.closed:
        answer = await _whole(request, route, views, read, live)
        if answer is not None:
            return answer
    live_responses.check_open(shared)
    await views.prepare(state, read.view)
    live_responses.check_open(shared)
    join = partial(route.feeds.join, live.active, state, read.view)
    is_private = route.freshness.toward(None, read.path).is_private
    head = view_responses.live_view(read.view.name, state.content_type, private=is_private)
    live_responses.stream_events(request, shared, join, head, read, state.offset(live.start))
    return None


async def _whole(
    request: Request, route: HostedRoute, views: RouteViews, read: Events, live: LiveRead
) -> RouteAnswer | None:
    """Return the response with a closed stream; None if it is too long for one piece."""
    state, now = live.state, route.clock()
    has_everything = read.last_event_id.endswith(END_MARK)
    if has_everything and read.view.name != TEXT and live.start == state.tail:
        # A 204 stops a browser's reconnects.
        ended = responses.poll_ended(state, read, route.freshness, now)
        return RouteAnswer(ended, cache_status.BYPASS)
    body = await views.body(state, read.view, live.start)
    if body is None:
        return None
    response = view_responses.whole_view(read, state, live.start, route.freshness, now, body)
    tag = request.headers.get("If-None-Match")
    etag = view_responses.view_tag(read.view.name, state, live.start)
    if tag is not None and cache_headers.matches(tag, etag):
        response = responses.Response(304, response.fields)
    return RouteAnswer(response, cache_status.MISS)
