"""Changes by operators to streams and runs, each with a line in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate_admin.access.audit import audited
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import Viewer
from headgate_admin.model.stream_wishes import AppendBody, ChangeMade, NewStream, OfLimits, Stopping
from headgate_admin.model.streams import OfStream
from headgate_admin.operation import operation
from headgate_admin.streams.client import canonical, checked
from headgate_gateway.features.questions.streams import (
    DescribeStream,
    LimitStream,
    StreamDescription,
    StreamRow,
)
from headgate_gateway.protocol.streams.limits import LimitChanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_admin.streams.client import StreamClient
    from headgate_gateway.features.questions.process_source import Setup


class ConsoleRoutes:
    """The prefixes of the routes, by which the console finds streams."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def check(self, route: str) -> None:
        """Raise ConsoleError if no route has this prefix."""
        if not any(it.prefix == route for it in self._setup.settings.route_table):
            raise ConsoleError(404, "no route has this prefix")

    @property
    def of_runs(self) -> tuple[str, ...]:
        """The prefixes of the routes that have runs."""
        return tuple(it.prefix for it in self._setup.settings.route_table if it.runs)

    @property
    def of_answers(self) -> tuple[str, ...]:
        """The prefixes of the routes to models, whose answers are runs."""
        return tuple(it.prefix for it in self._setup.settings.written)

    @property
    def of_logs(self) -> tuple[str, ...]:
        """The prefixes of the routes whose streams are here, and at no origin."""
        return tuple(it.prefix for it in self._setup.settings.route_table if it.log_kind)

    def stream(self, stream: OfStream) -> tuple[str, str]:
        """Return the path and the name of a stream in the gateway's form. Raises ConsoleError."""
        self.check(stream.route)
        return canonical(stream.route, stream.name)


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

    @operation("PUT", "/api/v1/stream")
    async def create(self, query: OfStream, body: NewStream, viewer: Viewer) -> StreamDescription:
        """Create a stream, and return it."""
        with audited(viewer, "create", query.route, query.name):
            if not query.name:
                raise ConsoleError(400, "a stream needs a name")
            path, name = self._routes.stream(query)
            content_type = body.content_type.strip()
            fields = {
                "Content-Type": content_type and checked(content_type),
                "Stream-TTL": "" if body.ttl is None else str(body.ttl),
                "Stream-Expires-At": body.expires_at.strip(),
            }
            for field, text in fields.items():
                if not (text.isascii() and (text.isprintable() or not text)):
                    raise ConsoleError(
                        400, f"{field} has characters that a field of HTTP cannot have"
                    )
            if not await self._streams.create(path, {key: it for key, it in fields.items() if it}):
                raise ConsoleError(409, "there is a stream with this name already")
        if query.route not in self._routes.of_logs:  # not read here yet, so nothing is cached
            row = StreamRow(name=name, content_type=content_type or None, rate=None, is_copied=True)
            return StreamDescription(row, {}, producers_in_all=None)
        return await self._describe(DescribeStream(query.route, name))

    @operation("POST", "/api/v1/stream/append")
    async def append(self, body: AppendBody, viewer: Viewer) -> ChangeMade:
        """Append text to a stream, and return the next offset."""
        with audited(viewer, "append", body.route, body.name):
            path, _ = self._routes.stream(body)
            data = body.data.encode()
            return ChangeMade(await self._streams.append(path, body.content_type, data))

    @operation("POST", "/api/v1/stream/close")
    async def close(self, body: OfStream, viewer: Viewer) -> ChangeMade:
        """Close a stream, and return its final offset."""
        with audited(viewer, "close", body.route, body.name):
            path, _ = self._routes.stream(body)
            return ChangeMade(await self._streams.close_stream(path))

    @operation("DELETE", "/api/v1/stream")
    async def delete(self, query: OfStream, viewer: Viewer) -> None:
        """Delete a stream."""
        with audited(viewer, "delete", query.route, query.name):
            await self._streams.delete(self._routes.stream(query)[0])

    @operation("PATCH", "/api/v1/stream")
    async def limit(self, query: OfStream, body: OfLimits, viewer: Viewer) -> StreamDescription:
        """Set limits of one stream, and return the stream."""
        changes = LimitChanges(**msgspec.structs.asdict(body))
        with audited(viewer, "limit", query.route, query.name) as logged:
            logged["changes"] = msgspec.json.encode(changes).decode()
            if changes == LimitChanges():
                names = ", ".join(changes.__struct_fields__)
                raise ConsoleError(400, f"name a limit to change: {names}")
            _, name = self._routes.stream(query)
            return await self._describe(LimitStream(query.route, name, changes))

    @operation("POST", "/api/v1/runs/stop")
    async def stop_run(self, body: OfStream, viewer: Viewer) -> Stopping:
        """Ask the producer of a run to stop."""
        with audited(viewer, "stop", body.route, body.name):
            if body.route not in self._routes.of_runs:
                raise ConsoleError(404, "no route with runs = true has this prefix")
            return Stopping(await self._streams.stop_run(self._routes.stream(body)[0]))
