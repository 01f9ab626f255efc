"""Changes by operators through the console: to streams and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.errors import ConsoleError
from admin.streams.client import canonical, checked
from gateway.features.questions.streams import (
    DescribeStream,
    LimitStream,
    StreamDescription,
    StreamRow,
)
from gateway.protocol.streams.limits import LimitChanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from admin.model.stream_wishes import NewStream
    from admin.streams.client import StreamClient
    from gateway.settings import Settings


class ConsoleRoutes:
    """The prefixes of the routes, by which the console finds streams."""

    def __init__(self, settings: Settings) -> None:
        self.use_settings(settings)

    def use_settings(self, settings: Settings) -> None:
        """Know the routes of these settings alone."""
        self._prefixes = {route.prefix for route in settings.route_table}
        self.of_origins = tuple(it.prefix for it in settings.route_table if it.log_kind is None)
        self.of_runs = tuple(it.prefix for it in settings.route_table if it.runs)
        self.of_subscriptions = tuple(
            it.prefix for it in settings.route_table if it.log_kind is not None
        )
        self.of_answers = tuple(it.prefix for it in settings.written)

    def check(self, route: str) -> None:
        """Raise ConsoleError if no route has this prefix."""
        if route not in self._prefixes:
            raise ConsoleError(404, "no route has this prefix")

    def check_runs(self, route: str) -> None:
        """Raise ConsoleError if there can be neither runs nor answers of models below a prefix."""
        if route not in self.of_answers:
            self.check(route)

    def stream(self, route: str, name: str) -> tuple[str, str]:
        """Return the path and the name of a stream in the gateway's form. Raises ConsoleError."""
        self.check(route)
        return canonical(route, name)


class ConsoleChanges:
    """The changes that operators can make. A change that is refused raises ConsoleError."""

    def __init__(
        self,
        streams: StreamClient,
        routes: ConsoleRoutes,
        describe: Callable[[DescribeStream | LimitStream], Awaitable[StreamDescription]],
    ) -> None:
        """`describe` returns the answer of all processes to a question."""
        self._streams = streams
        self._routes = routes
        self._describe = describe

    def check_route(self, route: str) -> None:
        """Raise ConsoleError if no route has this prefix."""
        self._routes.check(route)

    async def create(self, route: str, name: str, wish: NewStream) -> StreamDescription:
        """Create a stream; return it."""
        if not name:
            raise ConsoleError(400, "a stream needs a name")
        path, name = self._routes.stream(route, name)
        fields = {
            "Content-Type": wish.content_type.strip() and checked(wish.content_type.strip()),
            "Stream-TTL": "" if wish.ttl is None else str(wish.ttl),
            "Stream-Expires-At": wish.expires_at.strip(),
        }
        for field, text in fields.items():
            if not (text.isascii() and (text.isprintable() or not text)):
                raise ConsoleError(400, f"{field} has characters that a field of HTTP cannot have")
        if not await self._streams.create(path, {key: it for key, it in fields.items() if it}):
            raise ConsoleError(409, "there is a stream with this name already")
        if route in self._routes.of_origins:  # it has not been read here, so nothing is cached
            content_type = wish.content_type.strip() or None
            row = StreamRow(name=name, content_type=content_type, rate=None, is_copied=True)
            return StreamDescription(row, {}, producers_in_all=None)
        return await self._describe(DescribeStream(route, name))

    async def append(self, route: str, name: str, content_type: str, body: bytes) -> str:
        """Append to a stream; return the next offset."""
        return await self._streams.append(self._routes.stream(route, name)[0], content_type, body)

    async def close_stream(self, route: str, name: str) -> str:
        """Close a stream; return its final offset."""
        return await self._streams.close_stream(self._routes.stream(route, name)[0])

    async def delete(self, route: str, name: str, stream_id: str | None = None) -> None:
        """Delete a stream; with `stream_id` only if it is the one with this id."""
        await self._streams.delete(self._routes.stream(route, name)[0], stream_id)

    async def limit(self, route: str, name: str, changes: LimitChanges) -> StreamDescription:
        """Set limits of one stream, which its log keeps; return the stream."""
        if changes == LimitChanges():
            raise ConsoleError(
                400, f"name a limit to change: {', '.join(changes.__struct_fields__)}"
            )
        _, name = self._routes.stream(route, name)
        return await self._describe(LimitStream(route, name, changes))

    async def stop_run(self, route: str, name: str) -> bool:
        """Ask the producer of a run to stop; return False if there is no producer."""
        if route not in self._routes.of_runs:
            raise ConsoleError(404, "no route with runs = true has this prefix")
        return await self._streams.stop_run(self._routes.stream(route, name)[0])
