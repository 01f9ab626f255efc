"""A whole gateway in a thread of this process, for clients that neither start nor stop it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from headgate_gateway.process.in_thread import serving
from tests.support.given_settings import sections
from tests.support.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings import Settings


class Threaded:
    """Where a gateway listens, as `tests.support.processes.Headgate` tells it."""

    def __init__(self, settings: Settings) -> None:
        self.port = settings.listen.port
        self.admin_port = settings.admin.listen.port
        self.url = f"http://{settings.listen}"
        self.streams = f"{self.url}/v1/stream"
        self.admin_url = f"http://{settings.admin.listen}"


@contextlib.contextmanager
def threaded(**settings: object) -> Iterator[Threaded]:
    """Serve streams in memory, with these settings, while the block runs."""
    places = {"listen": f"{HOST}:{free_port()}", "admin": f"{HOST}:{free_port()}"}
    with serving(**sections({**places, **settings})) as whole:
        yield Threaded(whole)
