"""The methods of MCP that a route has: to begin, to list event types, and to poll for events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate_gateway.errors import BadRequest, HeadgateError
from headgate_gateway.features.mcp import rpc
from headgate_gateway.features.mcp.event_reading import BEFORE_CREATION, checked_cursor
from headgate_gateway.features.mcp.route_events import StreamedRequest
from headgate_gateway.features.mcp.rpc import RpcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headgate_gateway.access.principal import Principal
    from headgate_gateway.features.mcp.event_types import EventType
    from headgate_gateway.features.mcp.route_events import EventStream, RouteEvents
    from headgate_gateway.features.mcp.rpc import RpcCall

EXTENSION = "io.modelcontextprotocol/events"
STREAM = "events/stream"
POLL_AFTER_MS = 5_000
USUAL_EVENTS, MOST_EVENTS = 100, 1_000  # of one poll
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"


class EventRequests:
    """The requests of one client for the events of a route."""

    def __init__(self, route: RouteEvents, client: Principal | None) -> None:
        self._route = route
        self._client = client
        self._methods: dict[str, Callable[[RpcCall], Awaitable[Mapping[str, object]]]] = {
            "initialize": self._initialize,
            "server/discover": self._discover,
            "ping": self._ping,
            "tools/list": self._list_tools,
            "events/list": self._list,
            "events/poll": self._poll,
        }

    async def response(self, call: RpcCall) -> dict[str, object]:
        """Return the response to a request. Raises RpcError."""
        method = self._methods.get(call.method)
        if method is None:
            raise RpcError(rpc.METHOD_NOT_FOUND, "this method is not offered")
        try:
            return call.result(await method(call))
        except BadRequest as refusal:
            raise RpcError(rpc.INVALID_PARAMS, refusal.detail) from None
        except HeadgateError as error:
            raise RpcError(rpc.INTERNAL_ERROR, error.detail) from None

    # To begin

    async def _initialize(self, call: RpcCall) -> Mapping[str, object]:
        requested = call.params.get("protocolVersion")
        known = requested in rpc.HANDSHAKE_VERSIONS
        return {
            "protocolVersion": requested if known else rpc.HANDSHAKE_VERSIONS[-1],
            "capabilities": self._capabilities,
            "serverInfo": self._route.server_info,
        }

    async def _discover(self, call: RpcCall) -> Mapping[str, object]:
        if not call.is_stateless:
            raise RpcError(rpc.METHOD_NOT_FOUND, "this version of MCP begins with initialize")
        return {
            "supportedVersions": [*rpc.STATELESS_VERSIONS, *rpc.HANDSHAKE_VERSIONS],
            "capabilities": self._capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {_SERVER_KEY: self._route.server_info},
        }

    @property
    def _capabilities(self) -> dict[str, object]:
        """The capabilities, with events where the extension has them, and where hosts look."""
        events = {"listChanged": False}
        return {"tools": {}, "events": events, "extensions": {EXTENSION: events}}

    async def _ping(self, _call: RpcCall) -> Mapping[str, object]:
        return {}

    async def _list_tools(self, call: RpcCall) -> Mapping[str, object]:
        """Return that there are no tools: hosts ask for them before anything else."""
        cached = {"ttlMs": 0, "cacheScope": "private"} if call.is_stateless else {}
        return {"tools": [], **cached}

    # Events

    async def _list(self, call: RpcCall) -> Mapping[str, object]:
        if call.params.get("cursor") is not None:
            raise RpcError(rpc.INVALID_PARAMS, "all event types are on the first page")
        return {"events": [_event_type_document(one) for one in self._route.types.values()]}

    async def _poll(self, call: RpcCall) -> Mapping[str, object]:
        event, stream = self._permitted_choice(call.params)
        most = _most_events(call.params)
        cursor = checked_cursor(call.params.get("cursor"))
        page = await self._route.reader.next(event, stream, cursor, most)
        rest = {"truncated": False, "hasMore": False, "nextPollMs": POLL_AFTER_MS}
        if page is None:
            return {"events": [], "cursor": cursor or BEFORE_CREATION, **rest}
        now = self._route.clock()
        return {
            "events": [it.members(now) for it in page.events],
            "cursor": page.cursor,
            **rest,
            "truncated": page.gap is not None,
            "hasMore": page.has_more,
        }

    def stream(self, call: RpcCall) -> EventStream:
        """Return the stream of events that a request asks for. Raises RpcError."""
        event, stream = self._permitted_choice(call.params)
        cursor = checked_cursor(call.params.get("cursor"))
        choice = StreamedRequest(event, stream, cursor)
        return self._route.stream(self._client, call, choice)

    def _permitted_choice(self, params: Mapping[str, Any]) -> tuple[EventType, str]:
        """Return the event type and the stream that a client chooses, and may read.

        Raises RpcError.
        """
        name = params.get("name")
        event = self._route.types.get(name) if isinstance(name, str) else None
        if event is None:
            raise RpcError(rpc.NOT_FOUND, "there is no such event type", kind="event")
        stream = event.stream_in(params.get("arguments", {}))
        if not self._route.may_read(self._client, stream):
            raise RpcError(rpc.FORBIDDEN, "the credential does not permit to read this stream")
        return event, stream


def _event_type_document(event: EventType) -> dict[str, object]:
    return {
        "name": event.name,
        "description": event.description,
        "delivery": ["push", "poll"],
        "inputSchema": event.input_schema,
        "payloadSchema": event.payload_schema,
    }


def _most_events(params: Mapping[str, Any]) -> int:
    """Return how many events a poll gets at most. Raises RpcError."""
    value = params.get("maxEvents")
    if value is None:
        return USUAL_EVENTS
    if type(value) is not int or value < 1:
        raise RpcError(rpc.INVALID_PARAMS, "maxEvents is a whole number from 1 on")
    return min(value, MOST_EVENTS)
