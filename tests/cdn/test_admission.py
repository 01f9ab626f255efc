"""Edges that know who may read before they look for a copy: all who may share one, nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from tests.cdn.guarded_origin import (
    BODY,
    NESTED,
    PREFIX,
    GuardedOrigin,
    Signer,
    epoch_seconds,
    guarded_origin,
)
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.http1 import Client, request
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, run_here, started
from tests.support.waiting import at_rest, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from headgate_cdn.options import CredentialMode
    from tests.support.http1 import Answer

READERS = 50
LOG = "requests.log"
REMEMBER_S = 1
SEEN_S = 2.0  # a file of tokens is read within a second, and an edge may count in whole ones
LATE_S = 2.0  # a busy machine
POLL_S = 10.0
QUIET_S = 0.2


class Way(NamedTuple):
    """How an edge knows who may read."""

    target: str
    mode: CredentialMode


WAYS = (
    Way("cloudflare-worker", "verified"),
    Way("cloudflare-durable", "verified"),
    Way("nginx-njs", "asked"),
    Way("varnish", "asked"),
)


class Edge(NamedTuple):
    way: Way
    port: int
    folder: Path

    @property
    def asks(self) -> bool:
        return self.way.mode == "asked"


@pytest.fixture(scope="module")
def origin(processes: None) -> Iterator[GuardedOrigin]:
    with guarded_origin(POLL_S) as started:
        yield started


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.target)
def edge(processes: None, request: pytest.FixtureRequest, origin: GuardedOrigin) -> Iterator[Edge]:
    way: Way = request.param
    port, whole = free_port(), run_here(way.target)
    options = from_settings(
        origin.settings,
        upstream=f"127.0.0.1:{origin.port}",
        listen=port,
        credentials=way.mode,
        standalone=whole.can_stand_alone,
        remember_s=REMEMBER_S if way.mode == "asked" else None,
    )
    parts = (whole, *map(run_here, whole.beside))
    files = {one.file_name: render(one, options) for one in parts}
    if way.target == "nginx-njs":  # it logs as the documentation says
        at = f"    listen {port};\n"
        assert files["headgate.conf"].count(at) == 1
        logged = f"{at}    access_log {LOG} headgate;\n"
        files["headgate.conf"] = files["headgate.conf"].replace(at, logged)
    with started(ENGINES[way.target], files, port) as folder:
        yield Edge(way, port, folder)


async def get(port: int, target: str, **headers: str) -> Answer:
    client = await Client.connect(port)
    try:
        client.send(request("GET", target, None, **headers))
        return await client.whole(await client.head())
    finally:
        client.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_fifty_readers_with_tokens_share_one_cached_chunk_at_the_edge(
    edge: Edge, origin: GuardedOrigin
) -> None:
    stream = origin.stream()
    path, target = stream.path, stream.target
    tokens = [origin.signer.token(path, f"user-{number}") for number in range(READERS)]
    carried: Sequence[Callable[[str], Awaitable[Answer]]] = [
        lambda token: get(edge.port, target, **bearer(token)),
        lambda token: get(edge.port, f"{target}&token={token}"),
        lambda token: get(edge.port, f"{path}?token={token}&offset={stream.offset}"),
        lambda token: get(edge.port, target, Cookie=f"a=b; __Secure-headgate={token}"),
    ]
    before = origin.asked(PREFIX)
    answers = [await carried[at % 4](token) for at, token in enumerate(tokens)]
    answers += await asyncio.gather(*(carried[at % 4](it) for at, it in enumerate(tokens)))
    after = origin.asked(PREFIX)
    assert [(one.status, one.body) for one in answers] == [(200, BODY)] * (2 * READERS)
    assert after.reads - before.reads == 1
    asked = after.heads - before.heads
    assert READERS <= asked <= 2 * READERS if edge.asks else asked == 0


async def test_fifty_long_polls_with_tokens_are_collapsed_into_one_at_the_gateway(
    edge: Edge, origin: GuardedOrigin
) -> None:
    path = origin.path(PREFIX)
    assert origin.write("PUT", path, b"before").status == 201
    tail = origin.write("HEAD", path, None).next_offset
    target = f"{path}?offset={tail}&live=long-poll"
    tokens = [origin.signer.token(path, f"user-{number}") for number in range(READERS)]
    before = origin.asked(PREFIX).polls
    waiting = [asyncio.create_task(get(edge.port, target, **bearer(token))) for token in tokens]
    await until(lambda: origin.asked(PREFIX).polls > before, "a poll at the gateway")
    await at_rest(lambda: origin.asked(PREFIX).heads, QUIET_S)
    assert origin.write("POST", path, b"news").status == 204
    answers = await asyncio.gather(*waiting)
    assert [(one.status, one.body) for one in answers] == [(200, b"news")] * READERS
    assert origin.asked(PREFIX).polls - before == 1


async def test_each_read_with_a_bad_token_is_refused_by_the_gateway_and_never_cached(
    edge: Edge, origin: GuardedOrigin
) -> None:
    """Sixteen tokens that do not count, in three places, twice each: 96 requests."""
    stream, signer = origin.stream(), origin.signer
    path, target = stream.path, stream.target
    first = await get(edge.port, target, **bearer(signer.token(path, "friend")))
    assert first.status == 200
    now = int(epoch_seconds())
    right = signer.token(path, "stranger")
    refused = {
        "": 401,
        "nonsense": 401,
        "a.b.c": 401,
        right[:-4] + "AAAA": 401,
        right.rpartition(".")[0] + ".": 401,
        Signer().token(path, "stranger"): 401,
        signer.token(path, "stranger", iat=now - 100, exp=now - 60): 401,
        signer.token(path, "stranger", exp=now + 3600): 401,
        signer.token(path, "stranger", ver=2): 401,
        signer.token(path, "stranger", header={"typ": "JWT"}): 401,
        signer.token(path, "stranger", header={"alg": "none"}): 401,
        signer.token(path, "stranger", header={"alg": "HS256"}): 401,
        signer.token(path, "stranger", ops=["append"]): 403,
        signer.token(f"{path}s", "stranger"): 403,
        signer.token(f"{path}/*", "stranger"): 403,
        signer.token(f"{PREFIX}/other/*", "stranger"): 403,
    }
    for token, status in refused.items():
        ways = [bearer(token), {"Cookie": f"__Secure-headgate={token}"}]
        answers = [await get(edge.port, target, **way) for way in ways for _ in range(2)]
        answers += [await get(edge.port, f"{target}&token={token}") for _ in range(2)]
        assert [one.status for one in answers] == [status] * 6, token
        problems = {one.get("content-type") for one in answers}
        assert problems == {"application/problem+json"}, token


async def test_a_route_with_per_reader_responses_is_recognized_in_every_encoding(
    edge: Edge,
) -> None:
    """Five spellings of one path below it, each read by two, and then by nobody."""
    letter = NESTED.index("users")
    spelled = (
        NESTED,
        *(f"{NESTED[:at]}%{ord(NESTED[at]):02X}{NESTED[at + 1 :]}" for at in (1, 5, letter)),
        f"{NESTED[:letter]}%{ord('u'):02x}sers",
    )
    for prefix in spelled:
        target = f"{prefix}/me?offset=-1"
        answers = [await get(edge.port, target, **bearer(who)) for who in ("bob", "alice")]
        answers.append(await get(edge.port, target))
        said = [(one.status, one.body) for one in answers]
        assert said == [(200, b"Bearer bob"), (200, b"Bearer alice"), (200, b"nobody")], prefix


async def test_a_revoked_or_expired_token_is_refused_by_the_edge_in_the_promised_time(
    edge: Edge, origin: GuardedOrigin
) -> None:
    stream, now = origin.stream(), int(epoch_seconds())
    somebody = f"friend-{edge.way.target}"
    lasts = now + (600 if edge.asks else 2)
    token = origin.signer.token(stream.path, somebody, exp=lasts)
    assert (await get(edge.port, stream.target, **bearer(token))).status == 200
    if edge.asks:
        origin.tell(revoked=somebody)
        lasts = now + int(REMEMBER_S + SEEN_S)
    while (await get(edge.port, stream.target, **bearer(token))).status != 401:
        assert epoch_seconds() < lasts + LATE_S
        await asyncio.sleep(0.05)  # his pace
    answers = [await get(edge.port, stream.target, **bearer(token)) for _ in range(3)]
    assert [one.status for one in answers] == [401] * 3


async def test_no_token_is_stored_in_a_cache_key_log_or_file_of_the_edge(
    edge: Edge, origin: GuardedOrigin
) -> None:
    stream = origin.stream()
    path = stream.path
    tokens = [origin.signer.token(path, f"user-{number}") for number in range(3)]
    before = origin.asked(PREFIX).reads
    await get(edge.port, stream.target, **bearer(tokens[0]))
    in_url = f"{path}?token={tokens[1]}&offset={stream.offset}"
    await get(edge.port, in_url)
    await get(edge.port, stream.target, Cookie=f"__Secure-headgate={tokens[2]}")
    assert origin.asked(PREFIX).reads - before == 1
    if edge.way.target == "nginx-njs":
        logged = f'"GET {in_url.replace(tokens[1], "-")}" 200'
        await until(lambda: logged in (edge.folder / LOG).read_text(), "its line in the log")
    found = [
        (file.name, number)
        for file in edge.folder.rglob("*")
        # Varnish's memory of what it was sent lately, which only its own user may read.
        if file.is_file() and file.name != "_.vsl"
        for number, token in enumerate(tokens)
        if token.rpartition(".")[2].encode() in file.read_bytes()
    ]
    assert found == []
