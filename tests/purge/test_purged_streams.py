"""Which operations make caches in front forget a stream: those that end it or begin another."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gated_log import GatedLog, turns
from tests.support.raw_origin import RawOrigin, answer, close
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.logs.contract import Log
    from tests.support.serving import Serving

Purged = list[tuple[str, str]]
S = (PREFIX, f"{PREFIX}/s")


def recording(purged: Purged) -> Any:
    return SimpleNamespace(purge=lambda prefix, path: purged.append((prefix, path)))


@asynccontextmanager
async def hosting(log: Log | None = None) -> AsyncIterator[tuple[Serving, Purged]]:
    """A gateway with a log of its own, and what it has purged."""
    purged: Purged = []
    async with serving(log) as gateway:
        gateway.services.front_caches.purge_by(recording(purged))
        yield gateway, purged


async def test_deleting_a_stream_and_creating_it_again_both_purge() -> None:
    async with hosting() as (gateway, purged):
        await gateway.ask(put("s", body=b"one"))
        assert purged == []  # nothing was there before
        await gateway.ask(request("DELETE", "s"))
        assert purged == [S]
        assert (await gateway.ask(put("s", body=b"two"))).status == 201
        assert purged == [S, S]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(put("s"), id="a-put-of-an-existing-stream"),
        pytest.param(put("s", "Stream-TTL: 5"), id="a-put-with-a-ttl"),
        pytest.param(post("s", b"more"), id="an-append"),
        pytest.param(post("s", b"", "Stream-Closed: true"), id="a-close"),
        pytest.param(get("s?offset=-1"), id="a-read"),
        pytest.param(request("HEAD", "s"), id="a-head-request"),
        pytest.param(request("DELETE", "absent"), id="a-delete-of-an-absent-stream"),
    ],
)
async def test_operations_that_end_no_stream_do_not_purge(asked: bytes) -> None:
    async with hosting() as (gateway, purged):
        await gateway.ask(put("s"))
        await gateway.ask(asked)
        assert purged == []


async def test_a_purge_names_the_canonical_path_of_the_stream() -> None:
    async with hosting() as (gateway, purged):
        await gateway.ask(put("%61%2fb"))
        await gateway.ask(request("DELETE", "a%2Fb"))
        assert purged == [(PREFIX, f"{PREFIX}/a%2Fb")]


async def test_an_expired_stream_is_purged_when_it_is_swept() -> None:
    async with hosting() as (gateway, purged):
        ends = datetime.fromtimestamp(gateway.clock() + 100, UTC).isoformat()
        await gateway.ask(put("s", f"Stream-Expires-At: {ends.replace('+00:00', 'Z')}"))
        gateway.clock.advance(99)
        await gateway.route.sweeper.round()
        assert purged == []
        gateway.clock.advance(1)
        await gateway.route.sweeper.round()
        assert purged == [S]


async def test_creating_a_stream_over_an_expired_one_purges() -> None:
    async with hosting() as (gateway, purged):
        await gateway.ask(put("s", "Stream-TTL: 10"))
        gateway.clock.advance(10)
        assert (await gateway.ask(put("s"))).status == 201
        assert purged == [S, S]


async def test_a_deleted_stream_with_a_fork_is_purged_and_again_when_the_fork_is_deleted() -> None:
    async with hosting() as (gateway, purged):
        await gateway.ask(put("s", body=b"one"))
        await gateway.ask(put("fork", f"Stream-Forked-From: {PREFIX}/s"))
        await gateway.ask(request("DELETE", "s"))
        assert purged == [S]
        await gateway.ask(request("DELETE", "fork"))
        assert sorted(purged) == sorted([S, S, (PREFIX, f"{PREFIX}/fork")])


async def test_a_fork_created_at_the_path_of_a_deleted_stream_purges_that_path() -> None:
    async with hosting() as (gateway, purged):
        for name in ("s", "source"):
            await gateway.ask(put(name))
        await gateway.ask(request("DELETE", "s"))
        await gateway.ask(put("s", f"Stream-Forked-From: {PREFIX}/source"))
        assert purged == [S, S]


async def test_a_deletion_purges_after_its_commit_although_the_client_disconnected() -> None:
    log = GatedLog()
    async with hosting(log) as (gateway, purged):
        await gateway.ask(put("s"))
        log.commits.clear()
        committed = len(log.committed)
        client = await gateway.connect()
        client.send(request("DELETE", "s"))
        await until(lambda: len(log.committed) > committed)
        client.abort()
        await turns()
        assert purged == []
        log.commits.set()
        await until(lambda: purged == [S])


def says(status: str, *lines: str) -> bytes:
    return answer(b"", *lines, status=status)


@asynccontextmanager
async def before(origin: RawOrigin) -> AsyncIterator[tuple[Serving, Purged]]:
    purged: Purged = []
    async with origin, edge_serving(origin) as gateway:
        gateway.services.front_caches.purge_by(recording(purged))
        yield gateway, purged


@pytest.mark.parametrize(
    ("method", "status", "is_purged"),
    [
        ("DELETE", "204 No Content", True),
        (
            "DELETE",
            "404 Not Found",
            True,
        ),  # by other hands before: copies may be there all the same
        ("DELETE", "410 Gone", True),
        ("DELETE", "401 Unauthorized", False),
        ("DELETE", "405 Method Not Allowed", False),
        ("DELETE", "502 Bad Gateway", True),
        ("PUT", "201 Created", True),
        ("PUT", "200 OK", False),
        ("PUT", "409 Conflict", False),
        ("PUT", "504 Gateway Timeout", True),
        ("POST", "204 No Content", False),
        ("POST", "404 Not Found", False),  # anybody can ask for any name, and make us ask a vendor
        ("POST", "502 Bad Gateway", False),
        ("HEAD", "404 Not Found", False),
    ],
)
async def test_the_method_and_status_of_a_write_to_an_origin_decide_if_it_purges(
    method: str, status: str, is_purged: bool
) -> None:
    async with before(RawOrigin(says(status))) as (gateway, purged):
        await gateway.ask(request(method, f"{EDGE}/%73?x=y"))
        assert purged == ([(EDGE, f"{EDGE}/s")] if is_purged else [])


@pytest.mark.parametrize(
    ("method", "is_purged"), [("DELETE", True), ("PUT", True), ("POST", False)]
)
async def test_a_deletion_or_creation_with_unknown_outcome_purges(
    method: str, is_purged: bool
) -> None:
    async with before(RawOrigin(close)) as (gateway, purged):
        assert (await gateway.ask(request(method, f"{EDGE}/s"))).status == 502
        assert bool(purged) is is_purged
