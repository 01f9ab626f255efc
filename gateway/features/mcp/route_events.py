"""The events of one route: its event types, and what reads and delivers their events."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from gateway.access.operations import READ, Need
from gateway.errors import LimitReached
from gateway.features.mcp.rpc import EXHAUSTED, RpcError
from gateway.features.mcp.streaming import EventStream
from gateway.features.mcp.webhooks.host_subscriptions import HostSubscriptions
from gateway.features.mcp.webhooks.sender import WebhookEvents
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from gateway.features.subscriptions.subscription_handlers import subscriptions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.reading import EventReader
    from gateway.features.mcp.rpc import RpcCall
    from gateway.features.mcp.streaming import StreamedRequest
    from gateway.features.subscriptions.state.owners import SubscriptionOwner
    from gateway.routes.contract import StreamRoute
    from gateway.runtime.limits import ServerLimits


@cache  # it is read from files
def _own_version() -> str:
    from importlib.metadata import version  # 2 MB, for those who speak MCP

    return version("headgate")


class RouteEvents:
    """The events of one route."""

    def __init__(
        self,
        route: StreamRoute,
        reader: EventReader,
        types: Mapping[str, EventType],
        limits: ServerLimits,
    ) -> None:
        self._route = route
        self._limits = limits
        self._streams: set[EventStream] = set()
        self.prefix = route.prefix
        self.clock = route.clock
        self.types = types
        self.reader = reader
        self.webhooks: HostSubscriptions | None = None
        self._sender: WebhookEvents | None = None
        subscriptions = subscriptions_of(route)
        if isinstance(subscriptions, SharedSubscriptions):
            subscriptions.opening_observers.append(self._attach)
            subscriptions = subscriptions.engine
        if isinstance(subscriptions, RouteSubscriptions):
            self._attach(subscriptions)
        self.server_info = {"name": "headgate", "title": "Headgate", "version": _own_version()}

    def _attach(self, engine: RouteSubscriptions) -> None:
        """Have events sent to webhooks by the subscriptions of this gateway."""
        self._sender = WebhookEvents(engine, self.reader, self.types)
        self.webhooks = HostSubscriptions(engine, self.reader, self._sender)
        engine.deliveries.events = self._sender

    def renew(self, types: Mapping[str, EventType]) -> None:
        """Offer these event types from now on."""
        self.types = types
        if self._sender is not None:
            self._sender.types = types
        for stream in self._streams:
            if stream.event.name not in types:
                stream.end()

    def close(self) -> None:
        """Send no more events to webhooks."""
        self.end_streams()
        subscriptions = subscriptions_of(self._route)
        if isinstance(subscriptions, SharedSubscriptions):
            subscriptions.opening_observers.remove(self._attach)
        if self.webhooks is not None:
            self.webhooks.engine.deliveries.events = None

    def end_streams(self) -> None:
        """End the open streams of events: their clients come back elsewhere."""
        for stream in self._streams:
            stream.end()

    def stream(
        self, owner: SubscriptionOwner, call: RpcCall, choice: StreamedRequest
    ) -> EventStream:
        """Return a stream of events, for which there is a place among the live readers.

        Raises RpcError.
        """
        try:
            self._limits.reader_joins()
        except LimitReached as refusal:
            raise RpcError(EXHAUSTED, refusal.detail, limit="max_live_readers") from None
        stream = EventStream(self, owner, call, choice)
        self._streams.add(stream)
        return stream

    def discard(self, stream: EventStream) -> None:
        """Free the place of a stream of events."""
        self._limits.release_reader()
        self._streams.discard(stream)

    def may_read(self, owner: SubscriptionOwner, event: EventType, stream: str | None) -> bool:
        """Return whether a client may read what an event is made of."""
        needs = [Need(path, READ) for path in event.read_paths(stream, self.prefix)]
        return owner.still_may(self._route.access.guard, needs, self.clock())

    def delivery(self, owner: SubscriptionOwner) -> list[str]:
        """Return the ways in which a client can get events; webhooks need a credential."""
        has_webhooks = subscriptions_of(self._route) is not None and owner.principal is not None
        return ["webhook", "push", "poll"] if has_webhooks else ["push", "poll"]
