"""Handle requests to the path of a route where hosts of MCP connect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from multidict import CIMultiDict
from typing_extensions import override

from headgate_gateway.access.contract import NEEDS_TOKEN
from headgate_gateway.access.operations import READ, Need
from headgate_gateway.errors import (
    NO_STREAM,
    BadRequest,
    MethodNotAllowed,
    ServerStopping,
    StartError,
    StreamNotFound,
    Unauthenticated,
)
from headgate_gateway.features.held_answers import held_stream
from headgate_gateway.features.mcp import rpc
from headgate_gateway.features.mcp.event_types import event_types
from headgate_gateway.features.mcp.requests import STREAM, EventRequests
from headgate_gateway.features.mcp.route_events import EventStream, RouteEvents
from headgate_gateway.features.mcp.rpc import RpcError
from headgate_gateway.protocol import cache_headers, responses
from headgate_gateway.protocol.bodies.content import JSON_TYPE, media_type
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.paths import MCP
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.routes.feature import Entrance, RouteFeature
from headgate_gateway.telemetry.logs import log
from headgate_gateway.web.admission import refuse_banned
from headgate_gateway.web.handlers import live_responses
from headgate_gateway.web.requests.request import exchange_of
from headgate_gateway.web.routed_request import RoutedRequest

if TYPE_CHECKING:
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.features.mcp.event_types import EventType
    from headgate_gateway.routes.feature import FeatureRequest
    from headgate_gateway.routes.router import RoutedTarget
    from headgate_gateway.routes.services import Services
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.settings import Route
    from headgate_gateway.streams.route import HostedRoute
    from headgate_gateway.web.requests.request import Request


_FIELDS = f"{responses.SECURITY}{cache_headers.NO_STORE}"
_JSON_FIELDS = f"{_FIELDS}Content-Type: application/json\r\n"
_STREAM_LINES = responses.event_stream("text/plain", private=True).fields.encode()
ACCEPTED = RouteAnswer.of(responses.Response(202, _FIELDS), cache_status.BYPASS)


class EventsOfRoute(RouteFeature):
    """The events of one route for hosts of MCP, and what answers at the path where they connect."""

    control = MCP
    no_stream = "this is where the route takes MCP, and no stream"
    entrance = Entrance(
        "mcp",
        "hosts of MCP",
        "Messages of streams are events there, by the extension Events.",
        MCP,
    )

    def __init__(self, route: HostedRoute, types: dict[str, EventType], services: Services) -> None:
        self.events = RouteEvents(route, types, services.limits)
        self._services = services

    @override
    def has_path(self, name: str) -> bool:
        return name == MCP

    @override
    def drain(self) -> None:
        self.events.end_streams()

    @override
    def renew(self, made: RouteSetup) -> None:
        if (types := read_types(made)) is not None:
            self.events.renew(types)

    @override
    async def close(self) -> None:
        self.events.end_streams()

    @override
    async def operate(self, control: FeatureRequest) -> RouteAnswer:
        """Return the answer to a host of MCP. Raises HeadgateError."""
        (request, place), services = RoutedRequest.parts(control), self._services
        if request.method != "POST":
            raise MethodNotAllowed(
                "MCP takes POST here, and has no stream of the server's own", "POST"
            )
        client = await _admitted(control, place, services)
        if media_type(request.headers.get("Content-Type", "")) != JSON_TYPE:
            raise BadRequest("Content-Type must be application/json")
        body = await control.body()
        refuse_banned(request, exchange_of(request), services.bans)  # meanwhile
        try:
            message = rpc.message_in(body)
        except RpcError as error:
            return _answer(rpc.refusal(error), error.status(is_stateless=False))
        requests = EventRequests(self.events, client)
        version, method = (
            request.headers.get(name) for name in (rpc.VERSION_HEADER, rpc.METHOD_HEADER)
        )
        try:
            call = rpc.call_of(message, version, method)
        except RpcError as error:
            status = error.status(is_stateless=error.is_of_call)
            return _answer(rpc.refusal(error, error.call_id), status)
        if call is None or call.id is None:
            return ACCEPTED
        try:
            if call.method == STREAM:
                return _streamed(request, requests.stream(call), services)
            return _answer(await requests.response(call), 200)
        except RpcError as error:
            return _answer(call.error(error), error.status(is_stateless=call.is_stateless))


def _streamed(request: Request, stream: EventStream, services: Services) -> RouteAnswer:
    """Return the answer with a stream, which ends when its client leaves."""
    try:
        live_responses.check_open(request)
        request.limit_grace(0.0)
        request.end_with_fin()
    except (ConnectionResetError, ServerStopping):
        stream.release()
        raise
    streamed = RouteAnswer(200, _STREAM_LINES, stream, cache_status.BYPASS, is_relayed=True)
    return held_stream(request, services, streamed)


async def _admitted(
    control: FeatureRequest, place: RoutedTarget, services: Services
) -> Principal | None:
    """Return the principal; None for anybody, where anybody may read. Raises as a guard does."""
    principal = await control.admit()
    guard = place.route.access.guard
    if principal is None and guard is not None:
        needs = (Need(place.path, READ),)
        if guard.known_principal(CIMultiDict(), None, needs, services.clock()) is None:
            if place.route.access.conceals:
                raise StreamNotFound(NO_STREAM)
            raise Unauthenticated(NEEDS_TOKEN)
    return principal


def _answer(document: object, status: int) -> RouteAnswer:
    body = msgspec.json.encode(document)
    return RouteAnswer.of(responses.Response(status, _JSON_FIELDS, body), cache_status.BYPASS)


def check_events(settings: Route) -> None:
    """Raise StartError if the file of event types is malformed."""
    if settings.mcp_events_file:
        event_types(settings.mcp_events_file)


def read_types(made: RouteSetup) -> dict[str, EventType] | None:
    """Return the event types of a route. Raises StartError at a start.

    At a reload the file was checked a moment ago: if that is no longer true, None is returned, and
    the events stay as they are.
    """
    try:
        return event_types(made.route.mcp_events_file)
    except StartError as refusal:
        if not made.is_reload:
            raise
        log.error("mcp_events.file_refused", route=made.route.prefix, reason=refusal.detail)
        return None


def events_of_log(route: HostedRoute, made: RouteSetup) -> EventsOfRoute | None:
    """Return the events of a route for hosts of MCP. Raises StartError at a start."""
    types = read_types(made)
    return None if types is None else EventsOfRoute(route, types, made.services)
