"""The operations of the protocol on streams of own logs, one method for each."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gateway.access.reader_keys import renewed
from gateway.errors import BadRequest, HeadgateError, MethodNotAllowed
from gateway.hosted.feeds import LiveRead
from gateway.protocol import cache_status, responses
from gateway.protocol.content import is_long, long_records
from gateway.protocol.multi_append import long_multi_records
from gateway.protocol.paths import canonical_path, parse_query
from gateway.protocol.requests import Events, LongPoll, parse_append, parse_create, resumed
from gateway.protocol.target import split
from gateway.runtime.answer import Answered
from gateway.runtime.shedding import READS
from gateway.telemetry import tracing
from gateway.web import live_responses, request_body
from gateway.web.request_head import base_url

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

    from gateway.hosted.route import HostedRoute
    from gateway.protocol.appends import Appended
    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.web.router import Router


class HostedHandlers:
    """`operate` picks the operation by the request's method."""

    def __init__(self, routes: Router, shared: Context) -> None:
        self._routes = routes
        self._shared = shared

    async def operate(
        self, request: BaseRequest, target: str, route: HostedRoute, name: str
    ) -> Answered | None:
        """The answer; None when the connection was handed over."""
        if request.method == "GET":
            return await self._get(request, target, route, name)
        parse_query(split(target)[1])
        return Answered(await self._other(request, route, name), cache_status.OTHER_METHOD)

    async def _other(self, request: BaseRequest, route: HostedRoute, name: str) -> Response:
        match request.method:
            case "POST":
                return await self._append(request, route, name)
            case "PUT":
                return await self._create(request, route, name)
            case "HEAD":
                self._shared.shedding.check(READS)
                active = await route.table.load(name)
                return route.with_key(responses.metadata(route.table.present(active)), name)
            case "DELETE":
                await route.lifecycle.delete(name)
                return responses.deleted()
            case "OPTIONS":
                return responses.preflight()
            case _:
                raise MethodNotAllowed(f"{request.method[:32]} has no meaning for a stream")

    async def _get(
        self, request: BaseRequest, target: str, route: HostedRoute, name: str
    ) -> Answered | None:
        last_event_id = request.headers.get("Last-Event-ID")
        read = resumed(route.parse(target), last_event_id)
        answer = await route.read(read, name, request.headers.get("If-None-Match"))
        if not isinstance(answer, LiveRead):
            return answer
        live_responses.check_open(self._shared)
        state = answer.state
        if isinstance(read, LongPoll):
            async with live_responses.staying(request):
                join = partial(route.feeds.join, answer.active, state)
                return await live_responses.poll(request, join, read, state.offset(answer.start))
        if last_event_id and state.closed and answer.start == state.tail:
            # It was told of the end already; a 204 keeps a browser from asking for ever.
            read = renewed(route.access.reader_keys, read)
            ended = responses.poll_ended(state, read, route.freshness, route.clock())
            return Answered(ended, cache_status.BYPASS)
        assert isinstance(read, Events), "who only catches up has an answer"
        live = await route.feeds.prepare(answer)
        live_responses.check_open(self._shared)
        join = partial(route.feeds.join, live.active, live.state)
        head = responses.event_stream(live.state.content_type, private=route.freshness.is_private)
        start = live.state.offset(live.start)
        live_responses.stream_events(request, self._shared, join, head, read, start)
        return None

    async def _append(self, request: BaseRequest, route: HostedRoute, name: str) -> Response:
        append = parse_append(request.headers, await self._body(request))
        if is_long(append.content_type, append.body):
            take_apart = long_multi_records if append.is_multi else long_records
            records = await route.table.turns.take(take_apart(append.body))
            append = msgspec.structs.replace(append, records=records)
        if (traced := tracing.recorded()) is not None:
            append = msgspec.structs.replace(append, traced=traced, trace_id=traced.trace_id)
        done: asyncio.Future[Appended | HeadgateError] = asyncio.get_running_loop().create_future()
        route.appender.submit(name, append, done.set_result)
        outcome = await done
        if isinstance(outcome, HeadgateError):
            raise outcome
        return responses.appended(outcome)

    async def _create(self, request: BaseRequest, route: HostedRoute, name: str) -> Response:
        create = parse_create(request.headers, await self._body(request))
        source = None
        if create.fork is not None:
            source_route, source = self._routes.find(canonical_path(create.fork.source))
            if source_route is not route:
                raise BadRequest("Stream-Forked-From must name a stream of the same route")
        created = await route.lifecycle.create(name, create, source)
        answer = responses.created(created, f"{base_url(request)}{route.prefix}/{name}")
        told = live_responses.exchange_of(request).is_told_key
        return route.with_key(answer, name) if told else answer

    async def _body(self, request: BaseRequest) -> bytes:
        still_admitted = live_responses.exchange_of(request).check_admission
        return await request_body.whole(request, self._shared, still_admitted)
