"""Workers that were made for purges keep no copy that a purge would miss, and take none of others.

Workers Cache, which does the rest, is at Cloudflare only: workerd has no `ctx.cache`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_gateway.protocol.cache_headers import stream_tag
from headgate_gateway.purge.purges import Purges
from headgate_gateway.settings import PurgedCache
from headgate_gateway.telemetry.health import by_name
from tests.purge.double import file_of
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.proxy_engines import ENGINES, run_here, running
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

PREFIX = "/v1/stream"
TOKEN = "worker-s3cret"
PURGES = "/.headgate/purge"
ONE_TAG = json.dumps({"tags": ["s-1"]}).encode()


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    with headgate() as one:
        yield one


@pytest.fixture(scope="module", params=["cloudflare-worker", "cloudflare-durable"])
def worker(
    processes: None,
    request: pytest.FixtureRequest,
    server: Headgate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """The port of a Worker with the secret that its purges are sent with."""
    options = Options(upstream=f"127.0.0.1:{server.port}", purge=True)
    file = tmp_path_factory.mktemp("worker") / "worker.js"
    file.write_text(render(run_here(request.param), options))
    port = free_port()
    environment = {"FUNCTION_VARIABLES": json.dumps({"PURGE_TOKEN": TOKEN})}
    with running(ENGINES[request.param].command(file, port), port, environment):
        yield port


def test_a_worker_made_for_purges_does_not_use_the_cache_api(server: Headgate, worker: int) -> None:
    path = f"{PREFIX}/purged-{worker}"
    first = ask(server.port, "PUT", path, b"first", Content_Type="text/plain")
    ask(server.port, "POST", path, b"second", Content_Type="text/plain")
    target = f"{path}?offset={first.next_offset}"
    reads = [ask(worker, "GET", target) for _ in range(2)]
    # Without --purge the second is a HIT, of the Cache API of this data centre.
    assert [read.get("x-cache") for read in reads] == ["MISS", "MISS"]
    assert [read.body for read in reads] == [b"second"] * 2
    assert stream_tag(path) in (reads[0].get("cache-tag") or "")


@pytest.mark.parametrize(
    ("method", "body", "authorization", "status"),
    [
        ("POST", ONE_TAG, f"Bearer {TOKEN}", 501),  # it would, if there were a Workers Cache
        ("POST", ONE_TAG, f"Bearer {TOKEN}x", 401),
        ("POST", ONE_TAG, TOKEN, 401),
        ("POST", ONE_TAG, "Bearer ", 401),
        ("POST", b"{", f"Bearer {TOKEN}", 400),
        ("POST", b"null", f"Bearer {TOKEN}", 400),
        ("POST", b'{"tags": []}', f"Bearer {TOKEN}", 400),
        ("POST", b'{"tags": ["a,b"]}', f"Bearer {TOKEN}", 400),
        ("POST", b'{"tags": [1]}', f"Bearer {TOKEN}", 400),
        pytest.param(
            "POST",
            json.dumps({"tags": ["s"] * 101}).encode(),
            f"Bearer {TOKEN}",
            400,
            id="one-tag-over-the-limit",
        ),
        pytest.param(
            "POST",
            b'{"tags": ["s"], "x": "%b"}' % (b"x" * 16_384),
            f"Bearer {TOKEN}",
            400,
            id="a-body-over-the-limit",
        ),
        ("GET", None, f"Bearer {TOKEN}", 405),
    ],
)
def test_a_worker_accepts_purges_only_with_its_token_and_valid_tags(
    worker: int, method: str, body: bytes | None, authorization: str, status: int
) -> None:
    told = ask(worker, method, PURGES, body, Authorization=authorization)
    assert told.status == status
    assert told.json()["success"] is False
    assert TOKEN.encode() not in told.body


async def test_the_gateway_reports_a_worker_without_workers_cache_as_taking_no_purges(
    worker: int,
) -> None:
    url = f"http://127.0.0.1:{worker}"
    cache = PurgedCache.of({"kind": "cloudflare-worker", "url": url, "token_file": file_of(TOKEN)})
    purges = Purges([cache], time.monotonic, wall_clock=lambda: 0.0)
    purges.open()
    try:
        purges.purge(PREFIX, f"{PREFIX}/a")
        await until(lambda: any(by_name(purges.notes()).values()), "the failure to be shown")
        (note,) = by_name(purges.notes()).values()
        assert note is not None
        assert "answers 501: it takes no purges" in note
    finally:
        await purges.close()


def test_a_worker_not_made_for_purges_has_no_purge_path(server: Headgate) -> None:
    text = render(run_here("cloudflare-worker"), Options(upstream=f"127.0.0.1:{server.port}"))
    assert PURGES not in text
