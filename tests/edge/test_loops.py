"""A gateway that leads to itself says so at once, instead of asking itself for ever."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import PREFIX, edge
from tests.support.http1 import Answer, ask
from tests.support.ports import free_port

if TYPE_CHECKING:
    from tests.support.processes import Headgate

LOGGED = {"HEADGATE_LOG_REQUESTS": "info", "HEADGATE_LOG_FORMAT": "json"}
REQUESTS = [
    ("GET", "?offset=-1"),
    ("GET", "?offset=now&live=long-poll"),
    ("GET", "?offset=-1&live=sse"),
    ("HEAD", ""),
    ("PUT", ""),
    ("POST", ""),
    ("DELETE", ""),
]


def _ask(gateway: Headgate, method: str, query: str) -> Answer:
    body = b"x" if method in {"PUT", "POST"} else None
    return ask(gateway.port, method, f"{PREFIX}/a{query}", body, content_type="text/plain")


def _requests(gateway: Headgate) -> int:
    whole, _, _ = gateway.output().rpartition("\n")  # the last line may be half a line yet
    lines = [json.loads(line) for line in whole.splitlines()]
    return sum(line["event"] == "request" for line in lines)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_gateway_before_itself_answers_508(host: str) -> None:
    port = free_port()
    with edge(f"http://{host}:{port}", environment=LOGGED, port=port) as gateway:
        for method, query in REQUESTS:
            assert _ask(gateway, method, query).status == 508, (method, query)
        # Each came once from outside and once from itself.
        assert _requests(gateway) <= 2 * len(REQUESTS)


def test_gateways_before_each_other_answer_508() -> None:
    first_port, second_port = free_port(), free_port()
    with (
        edge(f"http://127.0.0.1:{second_port}", environment=LOGGED, port=first_port) as first,
        edge(f"http://127.0.0.1:{first_port}", environment=LOGGED, port=second_port) as second,
    ):
        for method, query in REQUESTS:
            assert _ask(first, method, query).status == 508, (method, query)
        assert _requests(first) <= 2 * len(REQUESTS)
        assert _requests(second) <= len(REQUESTS)
