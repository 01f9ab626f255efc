"""A gateway in a thread of this process, for the tests of an application."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from headgate_gateway.process.gateway import Gateway
from headgate_gateway.settings.loading import of_keywords

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from headgate_gateway.settings import Settings

HOST = "127.0.0.1"
LONGEST_S = 30.0  # of a start or a stop


@contextlib.contextmanager
def serving(**settings: object) -> Iterator[Settings]:
    """Serve streams while the block runs, in memory and at free ports unless `settings` differ.

    Args:
        settings: The settings of a configuration file, such as `limits={"max_append": 1000}`.

    Yields:
        All settings: streams are at `http://{settings.listen}/v1/stream`.

    Raises:
        SettingsError: A setting is invalid.
        StartError: The gateway cannot start.
    """
    listen, admin = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    stored = {} if {"storage", "origin", "routes"} & settings.keys() else {"storage": "memory:"}
    whole = of_keywords({"listen": listen, "admin": admin, **stored, **settings})
    loop = asyncio.new_event_loop()
    gateway = Gateway(whole)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(LONGEST_S)

    try:
        run(gateway.start())
        yield whole
    finally:
        run(gateway.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LONGEST_S)
        loop.close()


def free_port() -> int:
    """Return a port without a listener."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
