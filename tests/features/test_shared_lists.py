"""Lists of streams of one Redis, by several gateways and by the workers of one."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.features.test_listing import GRANTS, own
from tests.support.http1 import ask
from tests.support.redis_servers import redis_server
from tests.support.serving import PREFIX
from tests.support.tokens_files import token, write_tokens
from tests.support.waiting import wait_until
from tests.workers.several import several

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.workers.several import Several

NAMES = [f"team-a/{number:02}" for number in range(30)]
LOOKS = 6  # by connections of their own, so that each worker gets some


def send(server: Several, method: str, name: str) -> int:
    authorization = f"Bearer {token('writer')}"
    body = {"body": b""} if method == "PUT" else {}
    asked = ask(server.port, method, f"{PREFIX}/{name}", authorization=authorization, **body)  # type: ignore[arg-type]
    return asked.status


def listed(server: Several) -> list[str]:
    """The names on all pages, each by a connection of its own."""
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        target = f"{PREFIX}/__ds/streams?begins=team-a/&limit=7&after={after}"
        page = ask(server.port, "GET", target, authorization=f"Bearer {token('team')}")
        assert page.status == 200, page
        found = json.loads(page.body)
        names += found["streams"]
        after = found["next"]
    return names


def all_list(servers: Sequence[Several], names: list[str]) -> bool:
    return all(listed(server) == names for server in servers for _ in range(LOOKS))


@pytest.mark.usefixtures("processes")
def test_all_workers_of_all_gateways_of_a_redis_list_what_any_of_them_has(tmp_path: Path) -> None:
    tokens_file = write_tokens(tmp_path, GRANTS, without="", prefix=PREFIX)
    more = {"credentials": {"tokens_file": tokens_file}}
    with redis_server(tmp_path / "redis") as redis, ExitStack() as stack:
        servers = [
            stack.enter_context(several(redis.url, workers, route=own(), **more))
            for workers in (2, 1)
        ]
        for number, name in enumerate(NAMES):
            assert send(servers[number % 2], "PUT", name) == 201
        assert all_list(servers, NAMES)
        for number, name in enumerate(NAMES[::3]):
            assert send(servers[number % 2], "DELETE", name) == 204
        left = [name for name in NAMES if name not in NAMES[::3]]
        wait_until(lambda: all_list(servers, left), "all list what is left")
