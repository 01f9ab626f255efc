"""Two gateways that share a Redis, with configurations in front of both."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import load
from tests.cdn.origin import STREAMS
from tests.cdn.outages import EVENT_SOURCE, TEXT
from tests.support.given_settings import variables
from tests.support.http1 import Client, ConnectionEnded, ask, request
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.proxy_engines import ENGINES, run_here, started
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from headgate_gateway.settings import Settings
    from tests.support.http1 import Answer

BALANCING = [name for name in ENGINES if TARGETS[name].balances]
ONLY_CONNECTS_AGAIN = "traefik"
"""The target that tries another gateway only if it could not connect to the first."""
ANSWER_S = 2
"""Seconds for which the configurations wait for a response here; by the settings it is 11."""
POLL_S = 4.0
"""Seconds; longer than ANSWER_S, as a long-poll may be."""


REQUESTS = 12
"""Requests of each kind: enough for each of two gateways to get some."""
_NUMBERS = itertools.count()
RIGHT: dict[str, list[int | str]] = {
    "reads": [200] * REQUESTS,
    "appends": [204] * REQUESTS,
    "events": [200] * REQUESTS,
    "polls": [200] * REQUESTS,
}


class Pair:
    """Two started gateways, and the settings that both have."""

    def __init__(self, redis_url: str) -> None:
        environment = {
            **variables({"routes": [{"prefix": STREAMS, "storage": redis_url}]}),
            "HEADGATE_LIVE__LONG_POLL_TIMEOUT": str(POLL_S),
            "HEADGATE_LIMITS__MAX_LOOP_LAG": "0",  # one that stood still would refuse writes
        }
        self.settings: Settings = load(None, environment, {})
        self.gateways = [Headgate(environment=environment) for _ in range(2)]
        for one in self.gateways:
            one.serve_routes({"prefix": STREAMS, "storage": redis_url})

    @property
    def upstream(self) -> str:
        return ",".join(f"127.0.0.1:{one.port}" for one in self.gateways)


@contextlib.contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """Yield two gateways with one Redis, which run until the block ends."""
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
                **{"answer_s": ANSWER_S, **options},  # None is as the settings say
                upstream=upstream,
                listen=port,
                standalone=whole.can_stand_alone,
            )
            files = {it.file_name: render(it, made) for it in (whole, *map(run_here, whole.beside))}
            stack.enter_context(started(ENGINES[name], files, port))
        yield ports


async def asked(
    port: int, method: str, target: str, body: bytes | None = None, **headers: str
) -> Answer | Exception:
    """One request on a connection of its own; what went wrong, if that is no answer."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port), PATIENCE_S)
    try:
        client.send(request(method, target, body, **headers))
        head = await client.head()
        is_begun = method == "HEAD" or "live=sse" in target
        return head if is_begun else await client.whole(head)
    except (ConnectionEnded, OSError, asyncio.IncompleteReadError) as error:
        return error
    finally:
        client.close()


def created(port: int) -> str:
    """A new stream, made at this port."""
    path = f"{STREAMS}/s{next(_NUMBERS)}"
    answer = ask(port, "PUT", path, b"zero", Content_Type=TEXT)
    assert answer.status == 201, answer
    return path


async def all_kinds(port: int, path: str) -> dict[str, list[int | str]]:
    """The statuses of reads, long-polls that an append ends, SSE and appends."""

    async def some(*of: str, **headers: str) -> list[int | str]:
        body = b"x" if of[0] == "POST" else None
        each = [asked(port, of[0], of[1].format(at), body, **headers) for at in range(REQUESTS)]
        return [getattr(it, "status", 0) or repr(it) for it in await asyncio.gather(*each)]

    return {
        "reads": await some("GET", f"{path}?offset=-1&n={{}}"),
        "appends": await some("POST", path, Content_Type=TEXT),
        "events": await some("GET", f"{path}?offset=-1&live=sse", **EVENT_SOURCE),
        "polls": await some("GET", f"{path}?offset=-1&live=long-poll&n={{}}"),
    }


async def is_fine(port: int, path: str) -> bool:
    """Whether no request of any kind fails."""
    return await all_kinds(port, path) == RIGHT
