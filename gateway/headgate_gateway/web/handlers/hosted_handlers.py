"""The operations of the protocol on hosted streams, one method for each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from headgate_gateway.access.reader_keys import renewed
from headgate_gateway.errors import BadRequest, MethodNotAllowed
from headgate_gateway.later import Later
from headgate_gateway.protocol import responses
from headgate_gateway.protocol.bodies.content import is_long, long_records
from headgate_gateway.protocol.bodies.multi_append import long_multi_records
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.header_names import STREAM_ID
from headgate_gateway.protocol.http.paths import canonical_path, parse_query, split
from headgate_gateway.protocol.requests import CatchUp, Events, LongPoll, parse_create, resumed
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.runtime.shedding import READS
from headgate_gateway.stepped import in_task
from headgate_gateway.streams.outcomes import set_outcome, submitted
from headgate_gateway.streams.reads import LiveRead
from headgate_gateway.web.asks.ask import append_plan, creation_plan
from headgate_gateway.web.handlers import live_responses
from headgate_gateway.web.operations import RouteOperations
from headgate_gateway.web.requests import request_body
from headgate_gateway.web.requests.request import exchange_of
from headgate_gateway.web.requests.request_head import base_url

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.services import Services
    from headgate_gateway.streams.route import HostedRoute
    from headgate_gateway.web.asks.plans import Plans
    from headgate_gateway.web.requests.request import Request


class HostedHandlers(RouteOperations):
    """The operations on hosted streams; `operate` picks one by the request's method."""

    def __init__(self, plans: Plans, services: Services) -> None:
        self._plans = plans
        self._services = services

    @override
    def operate(
        self, request: Request, target: str, route: HostedRoute, name: str
    ) -> Later[RouteAnswer] | Coroutine[Any, Any, RouteAnswer | None]:
        """Return what yields the answer, or None once the connection is handed over."""
        if request.method == "GET":
            return self.get(request, target, route, name)
        if "?" in target:
            parse_query(split(target)[1])
        if request.method == "POST":
            return self._append(request, route, name)
        return self.other(request, route, name)

    async def other(self, request: Request, route: HostedRoute, name: str) -> RouteAnswer:
        """Return the answer to a request that neither reads nor appends."""
        match request.method:
            case "PUT":
                response = await self._create(request, route, name)
            case "HEAD":
                self._services.shedding.check(READS)
                active = await route.table.load(name)
                metadata = responses.metadata(route.table.present(active))
                response = route.with_key(metadata, name)
            case "DELETE":
                await in_task()
                await route.lifecycle.delete(name, request.headers.get(STREAM_ID))
                response = responses.deleted()
            case "OPTIONS":
                response = responses.preflight()
            case _:
                raise MethodNotAllowed(f"{request.method[:32]} has no meaning for a stream")
        return RouteAnswer.of(response, cache_status.OTHER_METHOD)

    async def get(
        self, request: Request, target: str, route: HostedRoute, name: str, fields: str = ""
    ) -> RouteAnswer | None:
        """Return the answer to a read, or None once the connection is handed over.

        A response by SSE has `fields` as well.
        """
        read, headers = route.parse(target), request.headers
        if isinstance(read, CatchUp):
            request.limit_grace(0.0)
        elif isinstance(read, Events):
            read = resumed(read, headers)
        answer = await route.reads.read(read, name, headers.get("If-None-Match"))
        if not isinstance(answer, LiveRead):
            return answer
        request.end_with_fin()
        if isinstance(read, Events) and read.view.is_rendered:
            assert route.feeds.views is not None, "set where the route is made"
            return await route.feeds.views.respond(request, read, answer)
        live_responses.check_open(request)
        state = answer.state
        if isinstance(read, LongPoll):
            request.limit_grace(0.0)
            join = partial(route.feeds.join, answer.active, state, read.view)
            return await live_responses.poll(request, join, read, state.offset(answer.start))
        if read.last_event_id and state.closed and answer.start == state.tail:
            # The reader has received the end already; a 204 stops a browser's reconnects.
            read = renewed(route.access.reader_keys, read)
            ended = responses.poll_ended(state, read, route.freshness, route.clock())
            return RouteAnswer.of(ended, cache_status.BYPASS)
        assert isinstance(read, Events), "a catch-up read is answered above"
        live = await route.feeds.prepare(answer)
        live_responses.check_open(request)
        join = partial(route.feeds.join, live.active, live.state, read.view)
        is_private = bool(fields) or route.freshness.toward(None, read.path).is_private
        start = live.state.offset(live.start)
        head = responses.event_stream(live.state.content_type, fields, private=is_private)
        if live.from_first:
            head = responses.naming_start(head, start)
        live_responses.stream_events(request, self._services, join, head, read, start)
        return None

    async def _append(self, request: Request, route: HostedRoute, name: str) -> RouteAnswer:
        fields = request.fields
        body = request_body.ready(request, self._services.limits)
        if body is None:
            append = fields.append(await self._body(request), request.own)
        else:
            append = fields.append(body, request.own)
            if (head := fields.append_head) is not None:  # the next like it needs no handler
                principal, path = exchange_of(request).principal, request.target
                plan = append_plan(path, route, name, fields, head, principal)
                self._plans.add(plan, path)
        if is_long(append.content_type, append.body):
            # Split in turns, so that it does not block the event loop.
            split_up = long_multi_records if append.is_multi else long_records
            records = await route.table.turns.run(split_up(append.body))
            append = msgspec.structs.replace(append, records=records)
        outcome: Later[AppendOutcome] = Later()
        route.writes.submit(name, submitted(append, partial(set_outcome, outcome)))
        return RouteAnswer.of(responses.appended(await outcome), cache_status.OTHER_METHOD)

    async def _create(self, request: Request, route: HostedRoute, name: str) -> Response:
        create, source = parse_create(request.headers, await self._body(request)), None
        exchange = exchange_of(request)
        if create.fork is not None:
            source_route, source = self._plans.router.find(canonical_path(create.fork.source))
            if source_route is not route:
                raise BadRequest("Stream-Forked-From must name a stream of the same route")
        elif route.access.reader_keys is None:
            plan = creation_plan(route, request.fields, create, exchange.principal)
            self._plans.add(plan)
        created = await route.writes.create(name, create, source)
        answer = responses.created(created, f"{base_url(request)}{route.prefix}/{name}")
        return route.with_key(answer, name) if exchange.sends_reader_key else answer

    async def _body(self, request: Request) -> bytes:
        still_admitted = exchange_of(request).check_admission
        return await request_body.whole(request, self._services, still_admitted)
