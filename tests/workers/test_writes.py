"""Workers before an HTTP origin: what is written through one is old at all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import edge
from tests.support.http1 import Answer, ask
from tests.support.waiting import wait_until
from tests.workers.several import Several, several

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

pytestmark = pytest.mark.timeout(180)

SOON_S = 20.0  # long before the end of a copy's lifetime
KEPT = {"tail_max_age": 600}  # copies of the tail, so that none of them ends by itself
READS = 30  # new connections, which the kernel deals out to both workers
STREAM = "/v1/stream/s"
OTHER = "/v1/stream/other"


@pytest.fixture
def origin() -> Iterator[Headgate]:
    with edge("memory:", KEPT) as server:
        yield server


@pytest.fixture
def server(origin: Headgate) -> Iterator[Several]:
    with several(origin.url, route=KEPT) as started:
        assert ask(started.port, "PUT", STREAM, b"one", content_type="text/plain").status == 201
        yield started


def reads(server: Several, path: str = STREAM) -> list[Answer]:
    return [ask(server.port, "GET", f"{path}?offset=-1") for _ in range(READS)]


def kept_everywhere(server: Several) -> None:
    """Have every worker keep the stream, and show that it does."""

    def is_kept() -> bool:
        return {answer.headers["x-cache"] for answer in reads(server)} == {"HIT"}

    wait_until(is_kept, "all workers answer from what they keep")


def test_an_append_is_soon_read_through_every_worker(server: Several) -> None:
    kept_everywhere(server)
    assert ask(server.port, "POST", STREAM, b" two", content_type="text/plain").status == 204
    wait_until(
        lambda: {answer.body for answer in reads(server)} == {b"one two"},
        "no worker gives out what there was before",
        within_s=SOON_S,
    )


def test_a_deletion_soon_holds_at_every_worker(server: Several) -> None:
    kept_everywhere(server)
    assert ask(server.port, "DELETE", STREAM).status == 204
    wait_until(
        lambda: {answer.status for answer in reads(server)} == {404},
        "no worker gives out what was deleted",
        within_s=SOON_S,
    )
    assert ask(server.port, "PUT", STREAM, b"new", content_type="text/plain").status == 201
    wait_until(
        lambda: {answer.body for answer in reads(server)} == {b"new"},
        "every worker gives out what was created anew",
        within_s=SOON_S,
    )


def test_a_write_to_one_stream_leaves_other_streams_cached_at_all_workers(server: Several) -> None:
    assert ask(server.port, "PUT", OTHER, b"1", content_type="text/plain").status == 201
    kept_everywhere(server)
    assert ask(server.port, "POST", OTHER, b"2", content_type="text/plain").status == 204
    wait_until(
        lambda: {one.body for one in reads(server, OTHER)} == {b"12"},
        "the other is read anew",
        within_s=SOON_S,
    )
    assert {answer.headers["x-cache"] for answer in reads(server)} == {"HIT"}
