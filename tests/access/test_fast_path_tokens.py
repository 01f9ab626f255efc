"""Requests with a token that are answered without a task: nobody has more by it than he may."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.requests.blocks import LONGEST_BLOCK
from tests.edge.both_ways import trust
from tests.support.guarded_gateway import CANARY, bearer, end_token, token, tokens_file
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, get, noted, post, put
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.raw_origin import Play
    from tests.support.serving import Serving

APPENDED = answer(b"", "Stream-Next-Offset: 9", status="204 No Content")
MINUTE = answer(b"data", "Cache-Control: max-age=60")
COOKIE = f"Cookie: __Secure-headgate={token('all')}"


@contextlib.asynccontextmanager
async def warm(
    folder: Path, *scripts: bytes | Play, **route: object
) -> AsyncIterator[tuple[RawOrigin, Serving]]:
    """A guarded gateway that keeps a connection to an origin which answers so."""
    settings = {"auth": "tokens", **route}
    path = str(tokens_file(folder))
    async with (
        RawOrigin(answer(b"", "Cache-Control: no-store")) as origin,
        edge_serving(origin, settings, tokens_file=path, own={"auth": "tokens"}) as gateway,
    ):
        for name in ("ann", "all", "late"):
            await gateway.ask(get(f"{EDGE}/a/warm", bearer(name)))
        assert (await gateway.ask(put(f"{PREFIX}/a/s", bearer("all")))).status == 201
        trust(gateway.edge.origin)
        origin.heard.clear()
        origin.scripts = list(scripts)
        yield origin, gateway


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is parsed."""
    return noted(monkeypatch)


@pytest.mark.parametrize("path", [f"{EDGE}/a/s", f"{PREFIX}/a/s"])
async def test_token_fields_are_parsed_once(path: str, tmp_path: Path, parsed: list[bytes]) -> None:
    async with warm(tmp_path, APPENDED) as (origin, gateway):
        await gateway.ask(post(path, b"x", bearer("all")))
        parsed.clear()
        for body in (b"y", b"longer"):
            assert (await gateway.ask(post(path, body, bearer("all")))).status == 204
        assert parsed == []
        assert CANARY not in repr(origin.heard)


async def test_no_token_is_in_any_cache_of_requests(tmp_path: Path) -> None:
    async with warm(tmp_path, MINUTE) as (origin, gateway):
        for number in range(3):
            read = await gateway.ask(get(f"{EDGE}/a/s?offset={number}", bearer("all")))
            assert (read.status, read.get("x-cache")) == (200, "MISS")
        origin.scripts = [APPENDED]
        for prefix in (PREFIX, EDGE):
            for _ in range(3):
                await gateway.ask(post(f"{prefix}/a/s", b"x", bearer("all")))
        blocks = gateway.fast.blocks
        assert len(blocks) > 0
        kept = [*blocks._known.fresh, *blocks._fields.fresh]
        assert all(len(name) == 16 for name in kept)
        fields = [*blocks._fields.fresh.values()]
        assert not any("authorization" in map(str.lower, one.headers) for one in fields)
        templates = [*gateway.fast.plans._reads.fresh.values()]
        sent = [*gateway.fast.plans._writes.fresh.values()]
        assert templates
        assert sent
        assert CANARY not in f"{templates}{sent}{[dict(one.headers) for one in fields]}"


@pytest.mark.parametrize("ended", ["expired", "revoked"])
@pytest.mark.parametrize("path", [f"{EDGE}/a/s", f"{PREFIX}/a/s"])
async def test_a_write_with_an_ended_token_gets_401_although_its_fields_are_cached(
    path: str, ended: str, tmp_path: Path
) -> None:
    async with warm(tmp_path, APPENDED) as (origin, gateway):
        for _ in range(2):
            assert (await gateway.ask(post(path, b"x", bearer("late")))).status == 204
        await end_token(gateway, tmp_path, ended)
        heard = len(origin.heard)
        assert (await gateway.ask(post(path, b"x", bearer("late")))).status == 401
        assert len(origin.heard) == heard


@pytest.mark.parametrize("ended", ["expired", "revoked"])
@pytest.mark.parametrize("before", [0, 3])
async def test_a_waiting_read_whose_token_ends_gets_401(
    before: int, ended: str, tmp_path: Path
) -> None:
    """It goes by a plan if others came before it."""
    async with warm(tmp_path, MINUTE) as (origin, gateway):
        client = await gateway.connect()
        for number in range(before):
            read = await client.ask(get(f"{EDGE}/a/s?offset={number}", bearer("late")))
            assert (read.status, read.get("x-cache")) == (200, "MISS")
        late = Steps(b"", MINUTE, MINUTE)
        origin.scripts = [late]
        client.send(get(f"{EDGE}/a/s?offset=3", bearer("late")))
        await until(lambda: len(origin.heard) == before + 1)
        assert not before or any(it.requests.asks for it in gateway.server.connections)
        await end_token(gateway, tmp_path, ended)
        late.go()
        told = await client.answer()
        assert (told.status, b"data" in told.wire) == (401, False)
        assert len(origin.heard) == before + 1


async def test_cached_request_fields_permit_no_more_than_their_token(tmp_path: Path) -> None:
    async with warm(tmp_path, MINUTE) as (origin, gateway):
        for _ in range(2):
            assert (await gateway.ask(get(f"{EDGE}/a/s", bearer("ann")))).status == 200
        heard = len(origin.heard)
        assert (await gateway.ask(get(f"{EDGE}/b/s", bearer("ann")))).status == 403
        plain = get(f"{EDGE}/a/s", bearer("ann"))
        assert (await gateway.ask(plain.replace(b"GET", b"POST", 1))).status == 403
        assert len(origin.heard) == heard
        for _ in range(2):
            assert (await gateway.ask(get(f"{EDGE}/a/s", COOKIE))).status == 200
        plain = get(f"{EDGE}/a/s", COOKIE)
        assert (await gateway.ask(plain.replace(b"GET", b"POST", 1))).status == 401
        assert len(origin.heard) == heard


async def test_a_token_is_passed_on_to_the_origin_of_an_open_route(tmp_path: Path) -> None:
    path = str(tokens_file(tmp_path))
    async with (
        RawOrigin(MINUTE) as origin,
        edge_serving(origin, tokens_file=path, own={"auth": "tokens"}) as gateway,
    ):
        await gateway.ask(put(f"{PREFIX}/a/s", bearer("all"), body=b"x"))
        for query in ("offset=-1", "offset=now", "offset=now"):
            await gateway.ask(get(f"{PREFIX}/a/s?{query}", bearer("all")))
        assert len(gateway.fast.blocks) > 0
        for number in range(2):
            await gateway.ask(get(f"{EDGE}/a/s?offset={number}", bearer("all")))
        told = [heard.named.get("authorization") for heard in origin.heard]
        assert told == [f"Bearer {token('all')}"] * 2


@pytest.mark.parametrize("more", [0, 1])
async def test_request_fields_beyond_a_length_are_not_cached(more: int, tmp_path: Path) -> None:
    async with warm(tmp_path, APPENDED) as (_, gateway):
        path, line = f"{EDGE}/a/s", "X-Long: "
        known = len(gateway.fast.blocks)
        _, _, block = post(path, b"x", bearer("all"), line)[: -len(b"\r\n\r\nx")].partition(b"\r\n")
        line += "v" * (LONGEST_BLOCK - len(block) + more)
        assert (await gateway.ask(post(path, b"x", bearer("all"), line))).status == 204
        assert len(gateway.fast.blocks) == known + (not more)


@pytest.mark.parametrize(
    ("query", "status"), [("token={}", 204), ("%74oken={}", 400), ("token=a&token={}", 400)]
)
async def test_a_write_with_cached_fields_sends_the_origin_no_token_of_its_query(
    query: str, status: int, tmp_path: Path
) -> None:
    async with warm(tmp_path, APPENDED) as (origin, gateway):
        path = f"{EDGE}/a/s"
        for _ in range(2):
            await gateway.ask(post(path, b"x", bearer("all")))
        asked = await gateway.ask(post(f"{path}?{query.format(CANARY)}", b"x", bearer("all")))
        assert asked.status == status
        assert CANARY not in repr(origin.heard)
