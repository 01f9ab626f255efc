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
    from collections.abc import Coroutine, Iterator

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
    loop = asyncio.new_event_loop()
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
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(LONGEST_S)

    try:
        run(gateway.start())
        yield place
    finally:
        run(gateway.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LONGEST_S)
        loop.close()
