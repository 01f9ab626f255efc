"""A private stream's answers are for shared caches where their URL has its current reader key."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from headgate_gateway import app
from headgate_gateway.access.reader_keys import MOST_FORMER, ReaderKeys
from headgate_gateway.errors import StartError
from headgate_gateway.settings import Route
from headgate_gateway.store import Caches
from tests.support.guarded_gateway import bearer, guarded, look_at_files, reach_tail, tokens_file
from tests.support.keys_files import new_keys_file
from tests.support.serving import DEFAULTS, PREFIX, get, post, put, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.http1 import Answer
    from tests.support.serving import Serving

SECRET = b"s" * 32
PATH = f"{PREFIX}/a/s"
KEY = "Stream-Reader-Key"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Serving]:
    file = new_keys_file(tmp_path)
    own = {"auth": "tokens", "reader_keys": "on"}
    async with guarded(tmp_path, own=own, keys_file=file, long_poll_timeout=0.1) as started:
        yield started


async def rotate(gateway: Serving, folder: Path, **versions: int) -> None:
    """Give these versions, and wait until they count."""
    path = tokens_file(folder)
    lines = [f'"{PREFIX}/{name}" = {version}' for name, version in versions.items()]
    path.write_text("\n".join([path.read_text(), "[reader_keys]", *lines, ""]))
    await look_at_files(gateway)


async def key_of(gateway: Serving, path: str = PATH, name: str = "all") -> str:
    answer = await gateway.ask(request("HEAD", path, bearer(name)))
    key = answer.get(KEY)
    assert key is not None, answer
    return key


def is_shared(answer: Answer) -> bool:
    """Whether a shared cache may keep it."""
    said = ", ".join(
        answer.get(name) or "" for name in ("Cache-Control", "CDN-Cache-Control")
    ).lower()
    return "private" not in said and re.search(r"max-age=[1-9]", said) is not None


# ---------------------------------------------------------------- the key itself


def test_a_reader_key_depends_on_path_secret_revocations_and_covering_versions_only() -> None:
    first = ReaderKeys(SECRET, {}, "").of("/v1/a/b")
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", first)
    others = {
        ReaderKeys(b"t" * 32, {}, "").of("/v1/a/b"),
        ReaderKeys(SECRET, {}, "x").of("/v1/a/b"),
        ReaderKeys(SECRET, {}, "").of("/v1/a/c"),
        ReaderKeys(SECRET, {"/v1/a/b": 1}, "").of("/v1/a/b"),
        ReaderKeys(SECRET, {"/v1/a/b": 2}, "").of("/v1/a/b"),
        ReaderKeys(SECRET, {"/v1/a/*": 1}, "").of("/v1/a/b"),
        ReaderKeys(SECRET, {"/v1/*": 1}, "").of("/v1/a/b"),
        ReaderKeys(SECRET, {"/v1/*": 1, "/v1/a/*": 1}, "").of("/v1/a/b"),
    }
    assert len(others | {first}) == 9
    same = {"/v1/a": 3, "/v1/a/b/*": 3, "/v1/ab": 3, "/v1/a/bc": 3}
    assert ReaderKeys(SECRET, same, "").of("/v1/a/b") == first


class ClearedCaches(Caches):
    """Caches that note the key of a stream whenever they are cleared."""

    def __init__(self, keys: ReaderKeys) -> None:
        super().__init__()
        self._keys = keys
        self.noted: list[str] = []

    @override
    def clear(self) -> None:
        self.noted.append(self._keys.of("/a/b"))


def test_only_a_change_of_version_secret_or_revocations_clears_the_caches() -> None:
    keys = ReaderKeys(SECRET, {"/a/*": 1}, "")
    cleared = ClearedCaches(keys)
    keys.caches.add(cleared)
    first = keys.of("/a/b")
    keys.update(SECRET, {"/a/*": 1}, "")
    keys.update(None, {"/a/*": 1}, "")
    assert cleared.noted == []
    keys.update(SECRET, {"/a/*": 2}, "")
    keys.update(b"t" * 32, {"/a/*": 2}, "")
    keys.update(b"t" * 32, {"/a/*": 2}, "x")
    assert len({first, *cleared.noted}) == 4


def test_former_reader_keys_are_known_for_a_thousand_changes_and_one_secret() -> None:
    keys = ReaderKeys(SECRET, {}, "")
    for number in range(1, MOST_FORMER + 2):
        assert not keys.are_former({"/*": number}, "")
        keys.update(None, {"/*": number}, "")
        assert not keys.are_former({"/*": number}, "")
    assert [keys.are_former({"/*": it} if it else {}, "") for it in (0, 1, MOST_FORMER)] == [
        False,
        True,
        True,
    ]
    assert not keys.are_former({"/*": 1}, "x")
    keys.update(b"t" * 32, {"/*": 0}, "")
    assert not keys.are_former({"/*": 1}, "")


# ---------------------------------------------------------------- at the gateway


async def test_the_reader_key_is_sent_only_to_clients_that_may_read(gateway: Serving) -> None:
    key = await key_of(gateway)
    tail = await reach_tail(gateway, PATH, "ann")
    told = [
        request("HEAD", PATH, bearer("ann")),
        get(f"{PATH}?offset=-1", bearer("ann")),
        get(f"{PATH}?offset=-1&rk={key}", bearer("ann")),
        get(f"{PATH}?offset=now", bearer("ann")),
        get(f"{PATH}?offset={tail}&live=long-poll", bearer("ann")),
        get(f"{PATH}?offset=-1&live=long-poll&rk=", bearer("ann")),
    ]
    assert [(await gateway.ask(one)).get(KEY) for one in told] == [key] * len(told)
    untold = [
        request("HEAD", PATH),
        request("HEAD", PATH, bearer("ben")),
        request("HEAD", PATH, bearer("writer")),
        get(f"{PATH}?offset=-1"),
        get(f"{PATH}?offset=-1&rk={key}"),
        get(f"{PATH}?offset=-1&rk={key}", bearer("ben")),
        get(f"{PATH}?offset=-1&rk={key}", bearer("writer")),
        post(PATH, b"more", bearer("writer")),
        put(f"{PREFIX}/new", bearer("writer")),
    ]
    answers = [await gateway.ask(one) for one in untold]
    assert [one.get(KEY) for one in answers] == [None] * len(untold)
    assert [one.status for one in answers] == [401, 403, 403, 401, 401, 403, 403, 204, 201]


async def test_a_creation_returns_the_reader_key_if_the_token_may_read(gateway: Serving) -> None:
    path = f"{PREFIX}/a/new"
    made = [await gateway.ask(put(path, bearer(name))) for name in ("all", "all", "writer")]
    key = await key_of(gateway, path)
    assert [(one.status, one.get(KEY)) for one in made] == [(201, key), (200, key), (200, None)]
    clash = put(path, bearer("all"), content_type="application/json")
    refused = [await gateway.ask(one) for one in (clash, put(path, bearer("ann")))]
    assert [(one.status, one.get(KEY)) for one in refused] == [(409, None), (403, None)]


async def test_only_the_current_reader_key_lets_shared_caches_store(gateway: Serving) -> None:
    key, other = await key_of(gateway), await key_of(gateway, f"{PREFIX}/b/s")
    assert key != other
    await gateway.ask(post(PATH, b"end", bearer("all"), "Stream-Closed: true"))
    first = await gateway.ask(get(f"{PATH}?offset=-1", bearer("ann")))
    begin = f"{PATH}?offset={'0' * 16}_{'0' * 16}"
    reads = [f"{PATH}?offset=-1", f"{PATH}?offset={first.next_offset}", begin]
    wrong = ["", f"&rk={other}", "&rk=", f"&rk={key}A", f"&rk={key[:-1]}", f"&RK={key}"]
    statuses = set()
    for read in reads:
        for _ in range(3):  # the second and third are kept answers
            for given in wrong:
                answer = await gateway.ask(get(read + given, bearer("ann")))
                assert not is_shared(answer), (read, given)
                statuses.add(answer.status)
    assert statuses <= {200, 410}
    for query in (f"?offset=-1&rk={key}", f"?rk={key}&offset=-1"):
        for _ in range(3):
            answer = await gateway.ask(get(PATH + query, bearer("ann")))
            assert (answer.status, is_shared(answer)) == (200, True)
            assert answer.get("Vary") is None
            assert answer.get("Surrogate-Key") is not None
            again = await gateway.ask(get(PATH + query))
            assert (again.status, is_shared(again)) == (401, False)


async def test_a_read_with_an_old_reader_key_gets_no_store_and_the_new(gateway: Serving) -> None:
    """Twice each, so that kept answers are among them."""
    for _ in range(2):
        answer = await gateway.ask(get(f"{PATH}?offset=-1&rk=old", bearer("ann")))
        assert answer.get("Cache-Control") == "private, no-store"
        assert (answer.status, answer.body) == (200, b"data")
        assert answer.get(KEY) == await key_of(gateway)


async def test_only_the_current_reader_key_gets_a_cacheable_204(gateway: Serving) -> None:
    key = await key_of(gateway)
    tail = await reach_tail(gateway, PATH, "ann")
    poll = f"{PATH}?offset={tail}&live=long-poll"
    for name in ("ann", "all"):
        mine = await gateway.ask(get(poll, bearer(name)))
        ours = await gateway.ask(get(f"{poll}&rk={key}", bearer(name)))
        stale = await gateway.ask(get(f"{poll}&rk=old", bearer(name)))
        assert [one.status for one in (mine, ours, stale)] == [204] * 3
        assert [is_shared(one) for one in (mine, ours, stale)] == [False, True, False]


async def test_an_sse_response_is_private_despite_the_reader_key(gateway: Serving) -> None:
    key = await key_of(gateway)
    client = await gateway.connect()
    client.send(get(f"{PATH}?offset=-1&live=sse&rk={key}", bearer("ann")))
    head = await client.head()
    assert (head.status, head.get("Cache-Control")) == (200, "private, no-cache, no-transform")


@pytest.mark.parametrize("is_reloaded", [False, True], ids=["as-started", "reloaded"])
async def test_a_rotation_makes_responses_by_the_old_reader_key_uncacheable(
    gateway: Serving, tmp_path: Path, *, is_reloaded: bool
) -> None:
    """Of the stream, of all below a folder, and of no other; the gateway's own cache, too."""
    if is_reloaded:
        own = Route(prefix=PREFIX, storage="memory:", auth="tokens", reader_keys="on")
        app.renew_route(gateway.route, DEFAULTS, own, gateway.route.access, gateway.services)
    beside = f"{PREFIX}/b/s"
    old, others = await key_of(gateway), await key_of(gateway, beside)
    for _ in range(2):
        assert is_shared(await gateway.ask(get(f"{PATH}?offset=-1&rk={old}", bearer("ann"))))
    await rotate(gateway, tmp_path, **{"a/*": 1})
    new = await key_of(gateway)
    assert new != old
    assert await key_of(gateway, beside) == others
    for target in (f"{PATH}?offset=-1&rk={old}", f"{PATH}?offset=-1&live=long-poll&rk={old}"):
        answer = await gateway.ask(get(target, bearer("ann")))
        assert (answer.get("Cache-Control"), answer.get(KEY)) == ("private, no-store", new)
    assert is_shared(await gateway.ask(get(f"{PATH}?offset=-1&rk={new}", bearer("ann"))))
    plain = await gateway.ask(get(f"{PATH}?offset=-1", bearer("ann")))
    assert plain.get(KEY) == new
    await rotate(gateway, tmp_path, **{"a/*": 1, "a/s": 7})
    assert len({old, new, await key_of(gateway)}) == 3


async def test_a_long_poll_that_waited_over_a_rotation_gets_no_store_and_the_new_key(
    gateway: Serving, tmp_path: Path
) -> None:
    """Beside a poll by the new key, which is told the same news."""
    gateway.polls_wait(60)
    old, tail = await key_of(gateway), await reach_tail(gateway, PATH, "ann")
    poll = f"{PATH}?offset={tail}&live=long-poll&rk="
    before = asyncio.create_task(gateway.ask(get(f"{poll}{old}", bearer("ann"))))
    await until(lambda: gateway.limits.live_readers == 1)
    await rotate(gateway, tmp_path, **{"a/s": 2})
    new = await key_of(gateway)
    after = asyncio.create_task(gateway.ask(get(f"{poll}{new}", bearer("ann"))))
    await until(lambda: gateway.limits.live_readers == 2)
    await gateway.ask(post(PATH, b"news", bearer("all")))
    assert [(one.body, one.get(KEY)) for one in (await before, await after)] == [(b"news", new)] * 2
    assert (await before).get("Cache-Control") == "private, no-store"
    assert "private" not in ((await after).get("Cache-Control") or "")


async def test_a_read_under_way_during_a_rotation_gets_no_store_and_the_new_key(
    gateway: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await key_of(gateway)
    target, reads = f"{PATH}?offset=-1&rk={old}", gateway.route.reads
    is_read, go_on, chunk_for = asyncio.Event(), asyncio.Event(), reads.chunk_for

    async def slow(*what: object) -> object:
        is_read.set()
        await go_on.wait()
        return await chunk_for(*what)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(reads, "chunk_for", slow)
    under_way = asyncio.create_task(gateway.ask(get(target, bearer("ann"))))
    await is_read.wait()
    await rotate(gateway, tmp_path, **{"a/s": 2})
    go_on.set()
    new = await key_of(gateway)
    answers = [await under_way, *[await gateway.ask(get(target, bearer("ann"))) for _ in range(3)]]
    told = {(one.body, one.get(KEY), one.get("Cache-Control")) for one in answers}
    assert told == {(b"data", new, "private, no-store")}


async def test_cors_exposes_the_reader_key_header(tmp_path: Path) -> None:
    site = "https://a.example"
    async with guarded(tmp_path, cors_origins=(site,)) as gateway:
        answer = await gateway.ask(get(f"{PATH}?offset=-1", bearer("ann"), f"Origin: {site}"))
    exposed = (answer.get("Access-Control-Expose-Headers") or "").split(", ")
    assert KEY in exposed


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"auth": "none", "reader_keys": "on"}, "is public, and has no use for reader_keys"),
        (
            {"auth": "tokens", "reader_keys": "on"},
            "reader_keys needs credentials.keys_file with a secret",
        ),
    ],
)
async def test_reader_keys_on_a_public_route_or_without_a_secret_are_refused_at_the_start(
    own: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    file = new_keys_file(tmp_path) if own["auth"] == "none" else ""
    with pytest.raises(StartError, match=sentence):
        async with guarded(tmp_path, own=own, keys_file=file):
            pass
