"""What Varnish answers while a gateway fails: at once, and from copies where there are some."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import HEALTH_PATH, render
from headgate_cdn.targets import target
from tests.cdn_configs.varnish_twin import Answer, Edge, Origin, serving, varnish, watched
from tests.support.ports import HOST
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READERS = 12
SLOW_S = 1.0  # of a failure: shorter than two of them, even on a busy machine
LONG_S = 20.0  # longer than a test takes
SECOND = Answer(fields=(("Cache-Control", "public, max-age=1"),))
FAILING = Answer(503, after_s=SLOW_S)
Asked = tuple[str, str, dict[str, str]]
AWAY: dict[str, Asked] = {
    "a read": ("GET", "/none?offset=-1", {}),
    "a poll": ("GET", "/none?live=long-poll", {}),
}
SENT_ON: dict[str, Asked] = {
    "an append": ("POST", "/any", {}),
    "HEAD": ("HEAD", "/any", {}),
    "the offset of now": ("GET", "/any?offset=now", {}),
    "a reader with credentials": ("GET", "/any?offset=-1", {"Authorization": "Bearer a"}),
}


@pytest.fixture(params=[0, 60], ids=["without stale copies", "with stale copies"])
def edge(processes: None, request: pytest.FixtureRequest) -> Iterator[Edge]:
    origin = Origin({"/any": SECOND, "/none": SECOND, "/slow": SECOND})
    said = Options(
        upstream=f"{HOST}:{origin.server_port}", standalone=True, stale_if_error_s=request.param
    )
    vcl = watched(render(target("varnish"), said))
    with serving(origin), varnish(vcl, origin) as edge:
        yield edge


def timed(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    ask()
    return time.monotonic() - began


def fail_checks(edge: Edge) -> None:
    """Let the gateway fail its checks, and wait until Varnish knows."""
    edge.origin.answers[HEALTH_PATH] = Answer(503)
    wait_for(edge, 503)


def wait_for(edge: Edge, status: int) -> None:
    """Wait until a read that has no copy gets this status."""
    numbers = itertools.count()
    wait_until(lambda: edge.ask(f"/any?{status}={next(numbers)}").status == status)


@pytest.mark.parametrize("edge", [60], indirect=True)
def test_readers_with_a_stale_copy_wait_for_one_failing_request_together(edge: Edge) -> None:
    first = edge.ask("/any?offset=-1")
    edge.origin.answers["/any"] = FAILING
    time.sleep(1.1)  # the lifetime of the copy
    with ThreadPoolExecutor(READERS) as threads:
        began = time.monotonic()
        asked = [threads.submit(edge.ask, "/any?offset=-1") for _ in range(READERS)]
        found = {(it.result().status, it.result().body) for it in asked}
        took_s = time.monotonic() - began
    assert found == {(200, first.body)}
    assert took_s < 2 * SLOW_S
    assert edge.origin.requests("/any") == {"GET": 2}
    edge.origin.answers["/any"] = SECOND
    wait_until(lambda: edge.ask("/any?offset=-1").body == b"3", "a new copy", within_s=2.5)


def test_what_no_copy_can_answer_is_sent_to_a_gateway_that_fails_its_checks(edge: Edge) -> None:
    fail_checks(edge)
    before = edge.origin.requests("/none")
    refused = {
        name: edge.ask(path, method, **fields) for name, (method, path, fields) in AWAY.items()
    }
    assert {name: it.status for name, it in refused.items()} == dict.fromkeys(AWAY, 503)
    assert edge.origin.requests("/none") == before
    sent = {
        name: edge.ask(path, method, **fields) for name, (method, path, fields) in SENT_ON.items()
    }
    assert {name: it.status for name, it in sent.items()} == dict.fromkeys(SENT_ON, 200)
    edge.origin.answers[HEALTH_PATH] = Answer()
    wait_for(edge, 200)


def test_no_reader_waits_for_the_request_of_another_at_a_gateway_that_fails_its_checks(
    edge: Edge,
) -> None:
    edge.origin.answers["/slow"] = Answer(after_s=LONG_S)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(edge.ask, "/slow?offset=-1")
        wait_until(lambda: edge.origin.requests("/slow") == {"GET": 1}, "a request at the gateway")
        fail_checks(edge)
        assert timed(lambda: edge.ask("/slow?offset=-1")) < 1
        assert edge.ask("/slow?offset=-1").status == 503
        assert not waiting.done()
        edge.origin.is_closing.set()
