"""A whole gateway in a thread of this process, for clients that neither start nor stop it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from gateway.process.gateway import Gateway
from gateway.settings import Settings
from tests.support.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_S = 30.0  # of a start or a stop


class Threaded:
    """Where a gateway listens, as `tests.support.processes.Headgate` tells it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.admin_port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.streams = f"{self.url}/v1/stream"
        self.admin_url = f"http://{HOST}:{self.admin_port}"


@contextlib.contextmanager
def threaded(**settings: object) -> Iterator[Threaded]:
    """Serve streams in memory, with these settings, while the block runs."""
    place = Threaded()
    loop, is_started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    gateway = Gateway(
        Settings.of(
            {
                "listen": f"{HOST}:{place.port}",
                "admin": f"{HOST}:{place.admin_port}",
                "origin": "memory:",
                **settings,
            }
        )
    )
    thread = threading.Thread(
        target=loop.run_until_complete, args=[_serve(gateway, is_started, stop)], daemon=True
    )
    thread.start()
    try:
        assert is_started.wait(LONGEST_S), "the gateway has not started"
        yield place
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(LONGEST_S)
        loop.close()


async def _serve(gateway: Gateway, is_started: threading.Event, stop: asyncio.Event) -> None:
    try:
        await gateway.start()
        is_started.set()
        await stop.wait()
    finally:
        await gateway.stop()
