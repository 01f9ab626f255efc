"""What readers and writers see when one of two gateways is dead, or hangs."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from cdn_configs.targets import TARGETS
from tests.cdn.balanced import BALANCING, in_front_of, pair
from tests.cdn.origin import STREAMS, stalled
from tests.cdn.outages import EVENT_SOURCE, TEXT, assert_away
from tests.support.http1 import Client, ConnectionEnded, ask, request
from tests.support.proxy_engines import ENGINES
from tests.support.waiting import PATIENCE_S, SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cdn.balanced import Pair
    from tests.support.http1 import Answer

pytestmark = pytest.mark.usefixtures("processes")
REQUESTS = 12  # of each kind, so that each of the gateways would get some
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def gateways(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def edges(gateways: Pair) -> Iterator[Mapping[str, int]]:
    with in_front_of(gateways.settings, gateways.upstream, BALANCING) as ports:
        yield ports


async def asked(
    port: int, method: str, target: str, body: bytes | None = None, **headers: str
) -> Answer | Exception:
    client = Client(*await asyncio.open_connection("127.0.0.1", port), PATIENCE_S)
    try:
        client.send(request(method, target, body, **headers))
        head = await client.head()
        is_begun = method == "HEAD" or "live=sse" in target
        return head if is_begun else await client.whole(head)
    except (ConnectionEnded, OSError) as error:
        return error
    finally:
        client.close()


def created(port: int) -> str:
    path = f"{STREAMS}/s{next(_NUMBERS)}"
    assert ask(port, "PUT", path, b"zero", Content_Type=TEXT).status == 201
    return path


async def all_kinds(port: int, path: str) -> dict[str, list[int]]:
    """The statuses of reads, long-polls that an append ends, SSE and appends."""

    async def some(*of: str, **headers: str) -> list[int]:
        body = b"x" if of[0] == "POST" else None
        each = [asked(port, of[0], of[1].format(at), body, **headers) for at in range(REQUESTS)]
        return [getattr(it, "status", 0) or repr(it) for it in await asyncio.gather(*each)]

    return {
        "reads": await some("GET", f"{path}?offset=-1&n={{}}"),
        "appends": await some("POST", path, Content_Type=TEXT),
        "events": await some("GET", f"{path}?offset=-1&live=sse", **EVENT_SOURCE),
        "polls": await some("GET", f"{path}?offset=-1&live=long-poll&n={{}}"),
    }


RIGHT = {
    "reads": [200] * REQUESTS,
    "appends": [204] * REQUESTS,
    "events": [200] * REQUESTS,
    "polls": [200] * REQUESTS,
}


async def is_fine(port: int, path: str) -> bool:
    return await all_kinds(port, path) == RIGHT


@pytest.mark.parametrize("name", BALANCING)
async def test_nothing_fails_while_one_of_two_gateways_hangs_that_was_found_out(
    name: str, gateways: Pair, edges: Mapping[str, int]
) -> None:
    """An append that a hanging gateway has got is nobody's to send again: those are its 504."""
    path = created(gateways.gateways[1].port)
    with stalled(gateways.gateways[0].pid):
        first = await all_kinds(edges[name], path)
        assert first["reads"] == RIGHT["reads"], first
        # Until it is found out.
        await until(lambda: is_fine(edges[name], path), within_s=SERVER_PATIENCE_S)


@pytest.mark.parametrize("name", BALANCING)
async def test_nothing_fails_while_one_of_two_gateways_is_dead(
    name: str, gateways: Pair, edges: Mapping[str, int]
) -> None:
    path = created(gateways.gateways[1].port)
    gateways.gateways[0].kill()
    try:
        assert await all_kinds(edges[name], path) == RIGHT
        stored = ask(gateways.gateways[1].port, "GET", f"{path}?offset=-1").body
        assert stored == b"zero" + b"x" * REQUESTS
    finally:
        await asyncio.to_thread(gateways.gateways[0].start)


@pytest.mark.parametrize("name", ENGINES)
async def test_a_long_poll_may_wait_for_longer_than_an_answer_may_take(
    name: str, gateways: Pair
) -> None:
    one = gateways.gateways[1]
    path = created(one.port)
    tail = ask(one.port, "GET", f"{path}?offset=-1").next_offset
    polls = {
        "anybody": {},
        "somebody": {"Authorization": "Bearer x"},
    }
    with in_front_of(gateways.settings, f"127.0.0.1:{one.port}", [name]) as ports:
        target = f"{path}?offset={tail}&live=long-poll"
        found = [asked(ports[name], "GET", target, **headers) for headers in polls.values()]
        assert [getattr(it, "status", it) for it in await asyncio.gather(*found)] == [204, 204]


@pytest.mark.parametrize("name", ENGINES)
async def test_a_gateway_that_hangs_is_given_up_after_the_time_of_an_answer(
    name: str, gateways: Pair
) -> None:
    """With fields by which pages see what it is; and new viewers have stale copies."""
    one = gateways.gateways[1]
    path = created(one.port)
    is_stale = not TARGETS[name].no_stale_if_error
    options = {"stale_if_error_s": 60} if is_stale else {}
    with in_front_of(gateways.settings, f"127.0.0.1:{one.port}", [name], **options) as ports:
        port, read = ports[name], f"{path}?offset=-1"
        assert ask(port, "GET", read).status == 200
        with stalled(one.pid):
            await asyncio.sleep(2.1)  # until the copy of a second is stale
            kinds = [("GET", f"{path}?offset=0&x=1"), ("POST", path), ("HEAD", path), ("GET", read)]
            each = (
                asked(port, *kind, b"x" if "POST" in kind else None, Content_Type=TEXT)
                for kind in kinds
            )
            *refused, copy = await asyncio.gather(*each)
    for kind, answer in zip(kinds, refused, strict=False):
        assert not isinstance(answer, Exception), (kind, answer)
        assert_away(answer, f"{kind}")
    if is_stale:
        assert (getattr(copy, "status", copy), getattr(copy, "body", copy)) == (200, b"zero")
