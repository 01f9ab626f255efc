"""The console's application on a listener of its own kind, for tests in one process."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestServer
from typing_extensions import override
from yarl import URL

from headgate_gateway.app import make_services
from headgate_gateway.process.admin_listener import AdminBounds, AdminListener, with_admin_bounds
from headgate_gateway.settings import Address, Settings

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

KEEPALIVE_S = 60.0


class AdminServer(TestServer):
    """An admin application that a gateway's own admin listener serves on a free port."""

    __test__ = False

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, host="127.0.0.1")
        services = make_services(with_admin_bounds(Settings()), lambda: 0.0)
        self._listener = AdminListener(app, AdminBounds(services), KEEPALIVE_S)

    @override
    async def start_server(
        self, loop: asyncio.AbstractEventLoop | None = None, **_options: Any
    ) -> None:
        """Listen on a free port; nothing if it listens already."""
        if self.started:
            return
        listener = socket.create_server((self.host, 0))
        listener.setblocking(False)
        self.runner = self._listener._runner
        self.port = listener.getsockname()[1]
        self.scheme, self._root = "http", URL(f"http://{self.host}:{self.port}")
        await self._listener.open(Address(self.host, self.port), [listener])

    @override
    async def close(self) -> None:
        """Close every connection; safe to call twice."""
        if self.started and not self.closed:
            self._closed = True
            await self._listener.close()
