"""A gateway that goes away and comes back, with every configuration in front of it at once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.settings import load
from tests.cdn.candidates import Candidate
from tests.cdn.engines import ENGINES, started
from tests.support.ports import free_port
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TEXT = "text/plain"
# What the standard has an EventSource send.
EVENT_SOURCE: Mapping[str, str] = {"Accept": "text/event-stream", "Cache_Control": "no-cache"}
HOLDING = frozenset({"nginx-njs", "haproxy", "caddy", "cloudflare-worker", "cloudflare-durable"})
"""Those that hold a request for events until the gateway is back."""


class LastingGateway(Headgate):
    """A Headgate that has its streams again when it is started again."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        environment = {"HEADGATE_LONG_POLL_TIMEOUT": "3", **(environment or {})}
        self.settings = load(None, environment, {})
        super().__init__(f"file:{folder / 'log'}", environment=environment)


@contextlib.contextmanager
def in_front(
    gateway: LastingGateway, names: Sequence[str] = tuple(ENGINES)
) -> Iterator[dict[str, int]]:
    """The ports of these configurations' servers, by target, until the block ends."""
    ports = {name: free_port() for name in names}
    with contextlib.ExitStack() as stack:
        for name, port in ports.items():
            files = Candidate(name).files(port, gateway)
            stack.enter_context(started(ENGINES[name], files, port))
        yield ports
