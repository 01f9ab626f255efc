"""Edges that know who may read before they look for a copy: all who may share one, nobody else."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest

from cdn_configs.options import Options
from cdn_configs.render import render
from tests.cdn.engines import ENGINES, run_here, started
from tests.cdn.guarded_origin import BODY, GuardedOrigin, Signer, epoch_seconds
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.http1 import Client, request
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from cdn_configs.options import CredentialMode
    from tests.support.http1 import Answer

READERS = 50
LOG = "requests.log"
REMEMBER_S = 1
SOON_S = 3.0  # the memory of an edge, the seconds that it counts in, and a busy machine


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
    origin_port: int
    signer: Signer
    folder: Path

    @property
    def asks(self) -> bool:
        return self.way.mode == "asked"


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.target)
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    way: Way = request.param
    signer, port, origin_port = Signer(), free_port(), free_port()
    whole = run_here(way.target)
    options = Options(
        upstream=f"127.0.0.1:{origin_port}",
        listen=port,
        credentials=way.mode,
        standalone=whole.can_stand_alone,
        remember_s=REMEMBER_S,
        read_keys=(signer.read_key,),
    )
    parts = (whole, *map(run_here, whole.beside))
    files = {one.file_name: render(one, options) for one in parts}
    if way.target == "nginx-njs":  # it logs as the documentation says
        at = f"    listen {port};\n"
        assert files["headgate.conf"].count(at) == 1
        logged = f"{at}    access_log {LOG} headgate;\n"
        files["headgate.conf"] = files["headgate.conf"].replace(at, logged)
    with started(ENGINES[way.target], files, port) as folder:
        yield Edge(way, port, origin_port, signer, folder)


@pytest.fixture
async def origin(edge: Edge) -> AsyncIterator[GuardedOrigin]:
    async with GuardedOrigin(edge.signer, port=edge.origin_port) as one:
        yield one


async def get(port: int, target: str, **headers: str) -> Answer:
    client = await Client.connect(port)
    try:
        client.send(request("GET", target, None, **headers))
        return await client.whole(await client.head())
    finally:
        client.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def paths() -> Iterator[str]:
    """Those of streams that no copy is of yet."""
    return (f"/v1/stream/team-{number}/notes" for number in itertools.count())


PATHS = paths()


@pytest.fixture
def path() -> str:
    return next(PATHS)


async def test_fifty_readers_share_one_copy(edge: Edge, origin: GuardedOrigin, path: str) -> None:
    target = f"{path}?offset=-1"
    tokens = [edge.signer.token(path, f"user-{number}") for number in range(READERS)]
    carried: Sequence[Callable[[str], Awaitable[Answer]]] = [
        lambda token: get(edge.port, target, **bearer(token)),
        lambda token: get(edge.port, f"{target}&token={token}"),
        lambda token: get(edge.port, f"{path}?token={token}&offset=-1"),
        lambda token: get(edge.port, target, Cookie=f"a=b; __Secure-headgate={token}"),
    ]
    answers = [await carried[at % 4](token) for at, token in enumerate(tokens)]
    answers += await asyncio.gather(*(carried[at % 4](it) for at, it in enumerate(tokens)))
    assert [(one.status, one.body) for one in answers] == [(200, BODY)] * (2 * READERS)
    assert origin.count("GET") == 1
    assert READERS <= origin.count("HEAD") <= 2 * READERS if edge.asks else not origin.count("HEAD")


async def test_fifty_readers_who_come_at_once_are_one(
    edge: Edge, origin: GuardedOrigin, path: str
) -> None:
    target = f"{path}?offset=-1&live=long-poll&cursor=7"
    tokens = [edge.signer.token(path, f"user-{number}") for number in range(READERS)]
    origin.holds = READERS if edge.asks else 0
    asked = [asyncio.create_task(get(edge.port, target, **bearer(token))) for token in tokens]
    answers = await asyncio.gather(*asked)
    assert [(one.status, one.body) for one in answers] == [(200, BODY)] * READERS
    assert origin.count("GET") == 1


async def test_who_may_not_read_is_answered_by_the_gateway_each_time(
    edge: Edge, origin: GuardedOrigin, path: str
) -> None:
    target, signer = f"{path}?offset=-1", edge.signer
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
        signer.token(path, "stranger", exp=now - 1): 401,
        signer.token(path, "stranger", ver=2): 401,
        signer.token(path, "stranger", header={"typ": "JWT"}): 401,
        signer.token(path, "stranger", header={"alg": "none"}): 401,
        signer.token(path, "stranger", header={"alg": "HS256"}): 401,
        signer.token(path, "stranger", ops=["append"]): 403,
        signer.token(f"{path}s", "stranger"): 403,
        signer.token(path[:-1], "stranger"): 403,
        signer.token(f"{path}/*", "stranger"): 403,
        signer.token("/v1/stream/other/*", "stranger"): 403,
    }
    for token, status in refused.items():
        ways = [bearer(token), {"Cookie": f"__Secure-headgate={token}"}]
        answers = [await get(edge.port, target, **way) for way in ways for _ in range(2)]
        answers += [await get(edge.port, f"{target}&token={token}") for _ in range(2)]
        assert [(one.status, one.body) for one in answers] == [(status, b"no")] * 6, token
    assert origin.count("GET") == 1 + 6 * len(refused)


async def test_a_token_that_is_taken_back_counts_for_no_longer_than_is_said(
    edge: Edge, origin: GuardedOrigin, path: str
) -> None:
    target, now = f"{path}?offset=-1", int(epoch_seconds())
    lasts = now + (600 if edge.asks else 2)
    token = edge.signer.token(path, "friend", exp=lasts)
    assert (await get(edge.port, target, **bearer(token))).status == 200
    origin.revoked.add("friend")
    until_s = epoch_seconds() + REMEMBER_S + 1 if edge.asks else lasts

    async def refused() -> bool:
        return (await get(edge.port, target, **bearer(token))).status == 401

    deadline = until_s + SOON_S
    while not await refused():
        assert epoch_seconds() < deadline
        await asyncio.sleep(0.05)  # his pace
    answers = [await get(edge.port, target, **bearer(token)) for _ in range(3)]
    assert [(one.status, one.body) for one in answers] == [(401, b"no")] * 3


async def test_no_credential_is_in_a_key_or_a_file(
    edge: Edge, origin: GuardedOrigin, path: str
) -> None:
    tokens = [edge.signer.token(path, f"user-{number}") for number in range(3)]
    await get(edge.port, f"{path}?offset=-1", **bearer(tokens[0]))
    await get(edge.port, f"{path}?token={tokens[1]}&offset=-1")
    await get(edge.port, f"{path}?offset=-1", Cookie=f"__Secure-headgate={tokens[2]}")
    assert origin.count("GET") == 1
    files = [file for file in edge.folder.rglob("*") if file.is_file()]
    found = [
        (file.name, number)
        for file in files
        for number, token in enumerate(tokens)
        if token.rpartition(".")[2].encode() in file.read_bytes()
        # Varnish's memory of what it was sent lately, which only its own user may read.
        and file.name != "_.vsl"
    ]
    assert found == []
    if edge.way.target == "nginx-njs":
        logged = f'"GET {path}?token=-&offset=-1" 200'
        await until(lambda: logged in (edge.folder / LOG).read_text(), "its line in the log")
        assert tokens[1] not in (edge.folder / LOG).read_text()
