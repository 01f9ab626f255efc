"""Two gateways that share a Redis, with configurations in front of both."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from cdn_configs.options import from_settings
from cdn_configs.render import render
from cdn_configs.targets import TARGETS
from gateway.settings import load
from tests.cdn.origin import STREAMS
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.proxy_engines import ENGINES, run_here, started
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.settings import Settings

BALANCING = [name for name in ENGINES if TARGETS[name].balances]
ANSWER_S = 2
"""How long the configurations wait for an answer here: the settings ask for more."""
POLL_S = 4.0
"""Longer than that."""


class Pair:
    """Two started gateways, and the settings that both have."""

    def __init__(self, redis_url: str) -> None:
        environment = {
            "HEADGATE_ROUTES": json.dumps([{"prefix": STREAMS, "origin": redis_url}]),
            "HEADGATE_LONG_POLL_TIMEOUT": str(POLL_S),
        }
        self.settings: Settings = load(None, environment, {})
        self.gateways = [Headgate(environment=environment) for _ in range(2)]
        for one in self.gateways:
            one.serve_routes({"prefix": STREAMS, "origin": redis_url})

    @property
    def upstream(self) -> str:
        return ",".join(f"127.0.0.1:{one.port}" for one in self.gateways)


@contextlib.contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """Two gateways on a Redis, until the block ends."""
    with redis_server(folder) as server:
        made = Pair(server.url)
        try:
            for one in made.gateways:
                one.start()
            yield made
        finally:
            for one in made.gateways:
                one.close()


@contextlib.contextmanager
def in_front_of(
    settings: Settings, upstream: str, names: Sequence[str], **options: object
) -> Iterator[dict[str, int]]:
    """The ports of these targets' servers before the gateways at `upstream`."""
    ports = {name: free_port() for name in names}
    with contextlib.ExitStack() as stack:
        for name, port in ports.items():
            whole = run_here(name)
            made = from_settings(
                settings,
                **{"answer_s": ANSWER_S, **options},
                upstream=upstream,
                listen=port,
                standalone=whole.can_stand_alone,
            )
            files = {it.file_name: render(it, made) for it in (whole, *map(run_here, whole.beside))}
            stack.enter_context(started(ENGINES[name], files, port))
        yield ports
