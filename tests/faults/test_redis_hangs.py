"""A Redis that hangs while a write waits for it: what else is asked of the same stream."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import append, content, create
from tests.faults.redis_gateway import assert_not_ready, redis_gateway
from tests.support.http1 import ask
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.http1 import Answer
    from tests.support.processes import Headgate

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(120)]

PATH = "/v1/stream/"
AT_ONCE_S = 1.5  # on a busy machine; a write that waits for another one takes five seconds


ASKS: dict[str, Callable[[Headgate, str], Answer]] = {
    "an append": lambda gateway, stream: append(gateway, stream, b"later"),
    "a closure": lambda gateway, stream: ask(
        gateway.port, "POST", PATH + stream, stream_closed="true"
    ),
    "a creation": lambda gateway, stream: ask(gateway.port, "PUT", PATH + stream),
    "a deletion": lambda gateway, stream: ask(gateway.port, "DELETE", PATH + stream),
    "a HEAD": lambda gateway, stream: ask(gateway.port, "HEAD", PATH + stream),
}


def test_what_comes_behind_a_waiting_append_is_refused_at_once_while_redis_hangs(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as redis, redis_gateway(redis.url) as gateway:
        for stream in ("one", "two"):
            create(gateway, stream)
            assert append(gateway, stream, b"first").status == 204
        redis.pause()
        try:
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(append, gateway, "one", b"waits")
                assert_not_ready(gateway, "no answer within")
                took: dict[str, float] = {}
                for stream in ("two", "one"):
                    for name, asked in ASKS.items():
                        began = time.monotonic()
                        answer = asked(gateway, stream)
                        took[f"{name} to {stream}"] = time.monotonic() - began
                        assert answer.status == 503, (name, stream, answer)
                assert not waiting.done()
                assert max(took.values()) < AT_ONCE_S, took
                redis.resume()
                assert waiting.result().status == 204
        finally:
            redis.resume()
        assert content(gateway, "one") == b"firstwaits"
