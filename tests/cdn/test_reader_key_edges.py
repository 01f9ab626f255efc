"""Edges that neither verify nor ask: all who have a stream's reader key share its copies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import target
from tests.cdn.candidates import Candidate
from tests.cdn.guarded_origin import BODY, PREFIX, GuardedOrigin, guarded_origin
from tests.cdn_configs.varnish_twin import FastlysVarnish, translated
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.examples import cases
from tests.support.http1 import Client, Wire, ask, request
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started
from tests.support.unmodified_clients import read_with_typescript
from tests.support.waiting import at_rest, until, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Answer

READERS = 50
POLL_S = 10.0
QUIET_S = 0.2
RECORD = 500_000  # bytes: one of a stream that has several chunks
TARGETS = ("nginx", "nginx-njs", "varnish", "cloudflare-worker", "cloudflare-durable", "fastly")


class Edge(NamedTuple):
    target: str
    port: int
    origin: GuardedOrigin

    def read(self, url: str, token: str | None = None, **headers: str) -> Answer:
        held = {} if token is None else {"Authorization": f"Bearer {token}"}
        return ask(self.port, "GET", url, None, **held, **headers)


@pytest.fixture(scope="module")
def origin(processes: None) -> Iterator[GuardedOrigin]:
    with guarded_origin(POLL_S) as one:
        yield one


@pytest.fixture(
    scope="module",
    params=cases(TARGETS, {"nginx", "varnish", "cloudflare-worker"}, "one of each way to cache"),
)
def edge(processes: None, request: pytest.FixtureRequest, origin: GuardedOrigin) -> Iterator[Edge]:
    name, port = request.param, free_port()
    if name == "fastly":  # its rules, translated, in Varnish
        options = from_settings(
            origin.settings,
            upstream="gateway.example.com:443",
            host="streams.example.com",
            credentials="reader-key",
        )
        twin = translated(render(target(name), options), origin.port)
        with started(FastlysVarnish(), {"twin.vcl": twin}, port):
            yield Edge(name, port, origin)
        return
    files = Candidate(name, "reader-key").files(port, origin)
    with started(ENGINES[name], files, port):
        yield Edge(name, port, origin)


async def get(port: int, url: str, token: str) -> Answer:
    client = await Client.connect(port)
    try:
        client.send(request("GET", url, None, Authorization=f"Bearer {token}"))
        return await client.whole(await client.head())
    finally:
        client.close()


def test_fifty_readers_with_the_reader_key_share_one_cached_response(edge: Edge) -> None:
    origin, stream = edge.origin, edge.origin.stream()
    url = f"{stream.target}&rk={origin.reader_key(stream.path)}"
    tokens = [origin.signer.token(stream.path, f"user-{number}") for number in range(READERS)]
    before = origin.asked(PREFIX).reads
    answers = [edge.read(url, token) for token in tokens[::2]]
    answers += [edge.read(f"{url}&token={token}") for token in tokens[1::2]]
    assert [(one.status, one.body) for one in answers] == [(200, BODY)] * READERS
    assert origin.asked(PREFIX).reads - before == 1


async def test_fifty_long_polls_with_the_reader_key_are_collapsed_into_one(edge: Edge) -> None:
    origin, path = edge.origin, edge.origin.path(PREFIX)
    assert origin.write("PUT", path, b"before").status == 201
    tail = origin.write("HEAD", path, None).next_offset
    url = f"{path}?offset={tail}&live=long-poll&rk={origin.reader_key(path)}"
    tokens = [origin.signer.token(path, f"user-{number}") for number in range(READERS)]
    before = origin.asked(PREFIX).polls
    waiting = [asyncio.create_task(get(edge.port, url, token)) for token in tokens]
    await until(lambda: origin.asked(PREFIX).polls > before, "a poll at the gateway")
    await at_rest(lambda: origin.asked(PREFIX).polls, QUIET_S)
    assert origin.write("POST", path, b"news").status == 204
    answers = await asyncio.gather(*waiting)
    assert [(one.status, one.body) for one in answers] == [(200, b"news")] * READERS
    assert origin.asked(PREFIX).polls - before == 1


def test_reads_without_the_current_reader_key_are_never_cached(edge: Edge) -> None:
    origin, stream = edge.origin, edge.origin.stream()
    key = origin.reader_key(stream.path)
    token = origin.signer.token(stream.path, "friend")
    urls = [stream.target, *(f"{stream.target}&rk={it}" for it in ("old", key[:-1], f"{key}A"))]
    before = origin.asked(PREFIX).reads
    for url in urls:
        for _ in range(3):
            assert edge.read(url, token).body == BODY
            assert edge.read(f"{url}&token={token}").body == BODY
            assert edge.read(url).status == 401
    # Those without a credential wait for nobody either, and each reaches the gateway.
    assert origin.asked(PREFIX).reads - before >= 6 * len(urls)


def test_the_reader_key_alone_does_not_permit_an_uncached_read(edge: Edge) -> None:
    origin, stream = edge.origin, edge.origin.stream()
    url = f"{stream.target}&rk={origin.reader_key(stream.path)}"
    stranger = origin.signer.token(f"{PREFIX}/other", "stranger")
    statuses = [
        edge.read(url, one).status for one in (None, stranger, "nonsense") for _ in range(2)
    ]
    assert statuses == [401, 401, 403, 403, 401, 401]
    assert edge.read(url, origin.signer.token(stream.path, "friend")).body == BODY


def test_a_query_token_that_no_header_can_hold_gets_401(edge: Edge) -> None:
    """Four that are odd once they are decoded, with the key in the URL."""
    origin, stream = edge.origin, edge.origin.stream()
    url = f"{stream.target}&rk={origin.reader_key(stream.path)}"
    statuses = [edge.read(f"{url}&token={odd}").status for odd in ("%0Ax", "%00", "%C3%A9", "x%20")]
    assert statuses == [401] * 4
    token = origin.signer.token(stream.path, "friend")
    assert edge.read(f"{url}&token={token}").body == BODY


def test_a_refused_request_with_the_reader_key_does_not_affect_the_next_reader(edge: Edge) -> None:
    """Five wrong requests that do not wait, each for another stream, and a right one after it."""
    origin = edge.origin
    wrong = (
        (),
        ("Authorization: Bearer nonsense",),
        ("Authorization: Bearer nonsense", "Authorization: Bearer nonsense"),
        ("Authorization: Basic bm9ib2R5Og==",),
        ("Cookie: __Secure-headgate=a", "Cookie: __Secure-headgate=b"),
    )
    for lines in wrong:
        stream = origin.stream()
        url = f"{stream.target}&live=long-poll&rk={origin.reader_key(stream.path)}"
        with Wire(edge.port) as wire:
            head = [f"GET {url} HTTP/1.1", "Host: localhost", *lines, "", ""]
            wire.send("\r\n".join(head).encode())
            assert wire.answer().status in {400, 401}, lines
        right = edge.read(url, origin.signer.token(stream.path, "friend"))
        assert (right.status, right.body) == (200, BODY), lines


def test_sse_with_the_reader_key_is_passed_on_for_each_reader(edge: Edge) -> None:
    origin, stream = edge.origin, edge.origin.stream()
    url = f"{stream.target}&live=sse&rk={origin.reader_key(stream.path)}"
    before = origin.asked(PREFIX).sse
    for number in range(3):
        answer = edge.read(url, origin.signer.token(stream.path, f"user-{number}"))
        assert (answer.status, BODY in answer.body) == (200, True)
    assert edge.read(url, "nonsense").status == 401
    assert origin.asked(PREFIX).sse - before == 3


def test_a_rotated_reader_key_causes_one_fetch_and_no_store_for_the_old_key(edge: Edge) -> None:
    """The old copy is found by its old URL only, until its time is over: nobody is told that."""
    origin, stream = edge.origin, edge.origin.stream()
    token = origin.signer.token(stream.path, "friend")
    old = origin.reader_key(stream.path)
    assert edge.read(f"{stream.target}&rk={old}", token).body == BODY
    before = origin.asked(PREFIX).reads
    new = origin.rotated(stream.path, {stream.path: 1})
    answers = [edge.read(f"{stream.target}&rk={new}", token) for _ in range(3)]
    assert [one.body for one in answers] == [BODY] * 3
    assert origin.asked(PREFIX).reads - before == 1
    fresh = edge.read(f"{stream.path}?offset=-1&rk={old}", token)
    assert (fresh.get("cache-control"), fresh.get("stream-reader-key")) == (
        "private, no-store",
        new,
    )


async def test_a_revoked_reader_gets_no_data_appended_after_its_poll_under_way(
    edge: Edge,
) -> None:
    """That poll may be shared with others until it is answered; the next ones have another key."""
    origin, path = edge.origin, edge.origin.path(PREFIX)
    assert origin.write("PUT", path, b"before").status == 201
    mallory = f"mallory-{edge.target}"
    friend, late, revoked = (origin.signer.token(path, it) for it in ("friend", "late", mallory))
    old = origin.reader_key(path)

    def appended(data: bytes) -> str:
        """Return the tail that this was appended at."""
        tail = origin.write("HEAD", path, None).next_offset
        assert origin.write("POST", path, data).status == 204
        return tail

    async def polls(*whose: tuple[str, str]) -> list[asyncio.Task[Answer]]:
        """Poll at the tail with these tokens and keys, the first before the others."""
        tail = origin.write("HEAD", path, None).next_offset
        begun: list[asyncio.Task[Answer]] = []
        before = origin.asked(PREFIX).polls
        for token, key in whose:
            url = f"{path}?offset={tail}&live=long-poll&rk={key}"
            begun.append(asyncio.create_task(get(edge.port, url, token)))
            if len(begun) == 1:
                await until(lambda: origin.asked(PREFIX).polls > before, "a poll")
        await at_rest(lambda: origin.asked(PREFIX).polls, QUIET_S)
        return begun

    waiting = await polls((friend, old), (revoked, old))
    origin.tell(revoked=mallory)
    direct = f"{path}?offset=-1"
    wait_until(
        lambda: (
            ask(origin.port, "GET", direct, None, Authorization=f"Bearer {revoked}").status == 401
        )
    )
    appended(b"one")
    under_way = await asyncio.gather(*waiting)
    assert under_way[0].body == b"one"
    assert under_way[1].status == 401 or under_way[1].body == b"one"

    waiting = await polls((friend, old), (revoked, old))
    new = origin.rotated(path, {path: 1}, revoked=mallory)
    appended(b"two")
    friends, refused = await asyncio.gather(*waiting)
    assert (friends.body, refused.status) == (b"two", 401)

    # One reader has the new key, another one does not know of it yet.
    for record in (b"three", b"four"):
        waiting = await polls((friend, new), (late, old), (revoked, old))
        tail = appended(record)
        *others, given = await asyncio.gather(*waiting)
        assert [one.body for one in others] == [record] * 2
        reads = [
            edge.read(f"{path}?offset={tail}{live}&rk={old}", one)
            for one in (revoked, None)
            for live in ("", "&live=long-poll")
        ]
        assert [(one.status, record in one.body) for one in (given, *reads)] == [(401, False)] * 5


@pytest.mark.parametrize("edge", cases(TARGETS, {"varnish"}, "one edge"), indirect=True)
async def test_the_official_client_sends_the_reader_key_with_each_request(edge: Edge) -> None:
    """Two readers from the beginning to the end: the chunks of the first are the second's."""
    origin, path = edge.origin, edge.origin.path(PREFIX)
    records = [bytes([letter]) * RECORD for letter in b"abcdefgh"]
    assert origin.write("PUT", path, records[0]).status == 201
    for record in records[1:]:
        assert origin.write("POST", path, record).status == 204
    assert origin.write("POST", path, b"", Stream_Closed="true").status == 204
    key = origin.reader_key(path)
    asked = []
    for reader in ("first", "second"):
        before = origin.asked(PREFIX)
        token = origin.signer.token(path, reader)
        url = f"http://127.0.0.1:{edge.port}{path}?rk={key}&token={token}"
        reading = await read_with_typescript(url, "long-poll")
        assert (reading.text, reading.closed) == (b"".join(records), True)
        after = origin.asked(PREFIX)
        asked.append(after.reads - before.reads + after.polls - before.polls)
    first, second = asked
    assert first > 2
    # What has no offset of its own, or reached the end by a poll, is kept for a second.
    assert second <= 2
