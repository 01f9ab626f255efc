"""The list of a route's streams: who gets it, what it has, and what nobody else learns from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from headgate_gateway.access.bans import Ban
from headgate_gateway.features.listing import LARGEST_PAGE, PAGE
from headgate_gateway.features.questions.readers import ApplyBans
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol.requests import CreateRequest, ForkRequest
from headgate_gateway.protocol.streams.state import Lifetime
from tests.reloading.reloadable import STREAMS, reloadable, token_entry
from tests.support.serving import PREFIX, Serving, get, request, serving
from tests.support.tokens_files import token, write_tokens
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.logs.contract import ListingPage

GRANTS = {
    "all": [("*", "read")],
    "team": [("team-a/*", "read"), ("other", "read")],
    "one": [("team-a/x", "read")],
    "accent": [("%C3%A9/*", "read")],
    "writer": [("*", "append create close delete")],
    "brief": [("*", "read")],
}
NAMES = ["other", "team-a", "team-a%2Fb", "team-a/x", "team-a/y/z", "team-ab", "%C3%A9/1"]
LIST = f"{PREFIX}/__ds/streams"


def own(**settings: object) -> dict[str, object]:
    return {"auth": ("tokens",), "listing": "on", **settings}


def listing_of(who: str | None, query: str = "", method: str = "GET", *lines: str) -> bytes:
    """A request for a list by somebody."""
    credential = () if who is None else (f"Authorization: Bearer {token(who)}",)
    return request(method, f"{LIST}?{query}" if query else LIST, *credential, *lines)


async def create(gateway: Serving, *names: str, ttl_s: int | None = None) -> None:
    for name in names:
        asked = CreateRequest(b"", "text/plain", Lifetime(ttl_s=ttl_s), False, None)
        await gateway.route.writes.create(name, asked, None)


@pytest.fixture
def tokens_file(tmp_path: Path) -> str:
    return write_tokens(tmp_path, GRANTS, without="", prefix=PREFIX)


@pytest.fixture
async def gateway(tokens_file: str) -> AsyncIterator[Serving]:
    """A gateway that lists its streams, of which there are some."""
    async with serving(own=own(), tokens_file=tokens_file) as served:
        await create(served, *NAMES)
        yield served


@pytest.fixture
async def concealing(tokens_file: str) -> AsyncIterator[Serving]:
    """A gateway that lists its streams, and conceals them."""
    async with serving(own=own(conceal="on"), tokens_file=tokens_file) as served:
        await create(served, *NAMES)
        yield served


async def test_a_page_has_the_names_in_order_and_where_the_next_one_begins(
    gateway: Serving,
) -> None:
    answer = await gateway.ask(listing_of("all"))
    assert answer.json() == {"streams": sorted(NAMES), "next": None}
    assert answer.status == 200
    assert answer.get("content-type") == "application/json"
    assert answer.get("cache-control") == "no-store"
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await gateway.ask(listing_of("all", f"limit=2&after={quote(after)}"))).json()
        assert len(page["streams"]) <= 2
        assert page["next"] in {None, page["streams"][-1]}
        found += page["streams"]
        after = page["next"]
    assert found == sorted(NAMES)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param("begins=team-a/", ["team-a/x", "team-a/y/z"], id="a-folder"),
        pytest.param("begins=team-a%2F", ["team-a/x", "team-a/y/z"], id="an-encoded-slash"),
        pytest.param("begins=team-a%252F", ["team-a%2Fb"], id="a-slash-that-parts-nothing"),
        pytest.param("begins=team%252Da/", ["team-a/x", "team-a/y/z"], id="another-spelling"),
        pytest.param("begins=%C3%A9", ["%C3%A9/1"], id="the-character-itself"),
        pytest.param("begins=%25C3%25A9/", ["%C3%A9/1"], id="a-character-as-in-the-url"),
        pytest.param("begins=%25C3", ["%C3%A9/1"], id="half-a-character"),
        pytest.param("begins=nothing", [], id="nothing"),
        pytest.param("begins=/team-a/", [], id="a-slash-first"),
        pytest.param("begins=../", [], id="dots"),
        pytest.param("begins=__ds/", [], id="control-paths"),
        pytest.param("begins=%00", [], id="a-nul"),
        pytest.param("begins=*", [], id="a-star"),
        pytest.param("begins=team-a/&after=team-a/x", ["team-a/y/z"], id="after-one"),
        pytest.param("begins=team-a/&after=a", ["team-a/x", "team-a/y/z"], id="after-before-all"),
        pytest.param("begins=team-a/&after=team-a/", ["team-a/x", "team-a/y/z"], id="after-it"),
        pytest.param("begins=team-a/&after=z", [], id="after-past-all"),
        pytest.param("begins=team-a/&after=team-a/y/z", [], id="after-the-last"),
        pytest.param("begins=team-a/&unknown=1", ["team-a/x", "team-a/y/z"], id="unknown-keys"),
    ],
)
async def test_a_list_has_what_begins_with_the_text_and_follows_another(
    gateway: Serving, query: str, found: list[str]
) -> None:
    answer = await gateway.ask(listing_of("all", query))
    assert answer.json() == {"streams": found, "next": None}


HOSTILE = {
    "limit 0": ("limit=0", "limit is a whole number from 1 to 1,000"),
    "limit -1": ("limit=-1", "limit is a whole number"),
    "limit 1001": ("limit=1001", "limit is a whole number"),
    "limit x": ("limit=x", "limit is a whole number"),
    "limit empty": ("limit=", "limit is a whole number"),
    "limit of another script": ("limit=%D9%A1", "limit is a whole number"),
    "limit of many digits": (f"limit={'0' * 5000}1", "limit is a whole number"),
    "limit twice": ("limit=1&limit=1", "'limit' is given more than once"),
    "begins twice": ("begins=team-a/&begins=", "'begins' is given more than once"),
    "begins too long": (f"begins={'a' * 2049}", "no path is over 2048 bytes"),
    "begins not UTF-8": ("begins=%FF", "not UTF-8"),
    "begins malformed": ("begins=%zz", "malformed percent-encoding"),
    "after too long": (f"after={'a' * 2049}", "no path is over 2048 bytes"),
    "after not UTF-8": ("after=%C3", "not UTF-8"),
}


@pytest.mark.parametrize(("query", "words"), HOSTILE.values(), ids=HOSTILE)
async def test_a_query_that_has_no_meaning_is_refused_to_those_who_may_list(
    gateway: Serving, query: str, words: str
) -> None:
    (await gateway.ask(listing_of("all", query))).assert_problem(400, words)
    (await gateway.ask(listing_of(None, query))).assert_problem(401, "send Authorization: Bearer")
    (await gateway.ask(listing_of("one", query))).assert_problem(
        403, "it needs read on every name that begins so"
    )


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
async def test_a_list_takes_get_and_no_other_method(gateway: Serving, method: str) -> None:
    answer = await gateway.ask(listing_of("all", "", method))
    assert (answer.status, answer.get("allow")) == (405, "GET")
    assert (await gateway.ask(listing_of(None, "", method))).status == 401


# Who asks, for what, and the status without and with `conceal`.
JUDGED = [
    pytest.param(listing_of("all", "begins=team-a/"), 200, id="read-of-all"),
    pytest.param(listing_of("team", "begins=team-a/"), 200, id="read-of-the-folder"),
    pytest.param(listing_of("team", "begins=team-a/y"), 200, id="read-of-more"),
    pytest.param(listing_of("accent", "begins=%C3%A9/"), 200, id="read-of-an-encoded-folder"),
    pytest.param(listing_of("team"), 403, id="all-by-read-of-a-folder"),
    pytest.param(listing_of("team", "begins=team-a"), 403, id="the-folder-without-its-slash"),
    pytest.param(listing_of("team", "begins=team-a%252F"), 403, id="an-encoded-slash"),
    pytest.param(listing_of("team", "begins=other"), 403, id="a-stream-and-what-begins-so"),
    pytest.param(listing_of("team", "begins=team-a/../"), 200, id="dots-are-text"),
    pytest.param(listing_of("team", "begins=team-b/../team-a/"), 403, id="dots-lead-nowhere"),
    pytest.param(listing_of("team", "begins=../team-a/"), 403, id="dots-first"),
    pytest.param(listing_of("team", "after=team-a/"), 403, id="after-grants-nothing"),
    pytest.param(listing_of("one", "begins=team-a/x"), 403, id="read-of-one"),
    pytest.param(listing_of("accent", "begins=%25C3"), 403, id="half-of-the-folders-name"),
    pytest.param(listing_of("writer"), 403, id="no-read"),
    pytest.param(listing_of("nobody"), 401, id="an-unknown-token"),
    pytest.param(listing_of(None), 401, id="no-token"),
    pytest.param(get(f"{LIST}?token={token('all')}"), 401, id="a-token-in-the-url"),
    pytest.param(get(f"{LIST}?begins=&token={token('all')}&rk=1"), 401, id="and-a-reader-key"),
    pytest.param(listing_of(None, "", "HEAD"), 401, id="head"),
    pytest.param(listing_of("one", "limit=0"), 403, id="a-wrong-limit"),
    pytest.param(listing_of("one", "limit=1&limit=1"), 403, id="a-repeated-parameter"),
    pytest.param(get(LIST, "Authorization: Basic YTpi"), 401, id="another-scheme"),
]


@pytest.mark.parametrize(("asked", "status"), JUDGED)
async def test_a_list_is_for_those_who_may_read_all_that_it_could_have(
    gateway: Serving, asked: bytes, status: int
) -> None:
    answer = await gateway.ask(asked)
    assert answer.status == status, answer
    assert b"team-a/x" not in answer.body or status == 200


UNKNOWN = f"{PREFIX}/__ds/nothing"


@pytest.mark.parametrize(("asked", "status"), [it for it in JUDGED if it.values[1] != 200])
async def test_a_concealed_list_looks_as_an_unknown_path_does(
    concealing: Serving, tokens_file: str, asked: bytes, status: int
) -> None:
    answer = await concealing.ask(asked)
    assert answer.status == 404
    unknown = await concealing.ask(asked.replace(LIST.encode(), UNKNOWN.encode()))
    stream = await concealing.ask(asked.replace(LIST.encode(), f"{PREFIX}/nothing".encode()))
    assert answer.same == unknown.same
    if b"limit=1&limit=1" not in asked:  # of a stream, it is refused to those who may read it
        assert answer.same == stream.same
    async with serving(own={**own(conceal="on"), "listing": "off"}, tokens_file=tokens_file) as off:
        assert (await off.ask(asked)).same == answer.same


async def test_what_anybody_may_read_makes_nobody_list(tokens_file: str) -> None:
    settings = own(anonymous=("read",))
    async with serving(own=settings, tokens_file=tokens_file) as gateway:
        await create(gateway, "a")
        assert (await gateway.ask(get("a"))).status == 200
        (await gateway.ask(listing_of(None))).assert_problem(401)
        (await gateway.ask(listing_of("writer"))).assert_problem(403)
        assert (await gateway.ask(listing_of("all"))).json()["streams"] == ["a"]


async def test_a_cookie_is_a_token_and_a_token_in_the_url_beside_it_is_none(
    gateway: Serving,
) -> None:
    cookie = f"Cookie: __Secure-headgate={token('team')}"
    target = f"{LIST}?begins=team-a/&token={token('all')}"
    assert (await gateway.ask(get(target, cookie))).status == 200
    assert (await gateway.ask(get(f"{LIST}?token={token('all')}", cookie))).status == 403


async def test_an_expired_token_and_a_banned_client_get_no_list(gateway: Serving) -> None:
    assert (await gateway.ask(listing_of("brief"))).status == 200
    now = gateway.clock()
    banned = Ban(kind="principal", value="token team", at=now, until=now + 60)
    await gateway.inspector.answer(ApplyBans((banned,)))
    (await gateway.ask(listing_of("team", "begins=team-a/"))).assert_problem(403, "banned")
    gateway.clock.advance(3600)
    (await gateway.ask(listing_of("brief"))).assert_problem(401)
    gateway.clock.advance(-3600)
    address = Ban(kind="address", value="127.0.0.1", at=now + 1, until=now + 60)
    await gateway.inspector.answer(ApplyBans((address,)))
    (await gateway.ask(listing_of("all"))).assert_problem(403, "banned")


async def test_a_banned_address_learns_nothing_of_a_concealed_list(concealing: Serving) -> None:
    now = concealing.clock()
    address = Ban(kind="address", value="127.0.0.1", at=now, until=now + 60)
    await concealing.inspector.answer(ApplyBans((address,)))
    unknown = await concealing.ask(get(UNKNOWN))
    assert (await concealing.ask(listing_of(None))).same == unknown.same


async def test_deleted_and_expired_streams_are_not_listed(gateway: Serving) -> None:
    await create(gateway, "brief-1", "brief-2", ttl_s=60)
    fork = CreateRequest(b"", None, Lifetime(), False, ForkRequest(f"{PREFIX}/other", None, 0))
    await gateway.route.writes.create("fork", fork, "other")
    await gateway.route.lifecycle.delete("other", None)  # which stays for its fork
    await gateway.route.lifecycle.delete("team-ab", None)
    left = sorted({*NAMES, "brief-1", "brief-2", "fork"} - {"other", "team-ab"})
    assert (await gateway.ask(listing_of("all"))).json()["streams"] == left
    gateway.elapsed.advance(61)
    gateway.clock.advance(61)
    left = [name for name in left if "brief" not in name]
    page = (await gateway.ask(listing_of("all", "limit=3"))).json()
    assert page == {"streams": left[:3], "next": left[2]}


async def test_streams_that_come_and_go_between_pages_neither_repeat_nor_hide_others(
    gateway: Serving,
) -> None:
    first = (await gateway.ask(listing_of("all", "limit=3"))).json()
    assert first["next"] == "team-a"
    await gateway.route.lifecycle.delete("team-a", None)
    await create(gateway, "a-new", "team-a-new")
    second = (await gateway.ask(listing_of("all", f"after={first['next']}"))).json()
    later = sorted([name for name in NAMES if name > "team-a"] + ["team-a-new"])
    assert second == {"streams": later, "next": None}
    await create(gateway, "team-a")
    assert (await gateway.ask(listing_of("all"))).json()["streams"].count("team-a") == 1


async def test_a_page_has_100_names_by_default_and_1000_at_most(gateway: Serving) -> None:
    await create(gateway, *(f"n/{number:04}" for number in range(LARGEST_PAGE + 1)))
    for query, size in (("begins=n/", PAGE), (f"begins=n/&limit={LARGEST_PAGE}", LARGEST_PAGE)):
        page = (await gateway.ask(listing_of("all", query))).json()
        assert (len(page["streams"]), page["next"]) == (size, f"n/{size - 1:04}")


class HeldLog(MemoryLog):
    """A log whose lists wait until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.go = asyncio.Event()

    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        self.waiting += 1
        await self.go.wait()
        return await super().page(prefix, after, limit)


async def test_each_client_reads_one_list_at_a_time(tokens_file: str) -> None:
    log = HeldLog()
    async with serving(log, own=own(), tokens_file=tokens_file) as gateway:
        await create(gateway, "team-a/x")
        begun = asyncio.create_task(gateway.ask(listing_of("all")))
        await until(lambda: log.waiting == 1)
        refused = await gateway.ask(listing_of("all", "begins=team-a/"))
        refused.assert_problem(429, "client_lists is reached")
        assert refused.get("retry-after") == "1"
        other = asyncio.create_task(gateway.ask(listing_of("team", "begins=team-a/")))
        await until(lambda: log.waiting == 2)
        log.go.set()
        assert {(await begun).status, (await other).status} == {200}
        assert (await gateway.ask(listing_of("all"))).status == 200
        assert gateway.limits.refused["client_lists"] == 1
        assert not gateway.limits.lists_of


async def test_a_client_that_leaves_while_its_list_is_read_may_read_another(
    tokens_file: str,
) -> None:
    log = HeldLog()
    async with serving(log, own=own(), tokens_file=tokens_file) as gateway:
        client = await gateway.connect()
        client.send(listing_of("all"))
        await until(lambda: log.waiting == 1)
        client.reset()
        await until(lambda: not gateway.limits.lists_of)
        log.go.set()
        assert (await gateway.ask(listing_of("all"))).status == 200


async def test_lists_are_counted_as_an_operation_of_their_own_and_by_their_clients(
    gateway: Serving,
) -> None:
    await gateway.ask(listing_of("all"))
    await gateway.ask(listing_of("one"))
    await gateway.ask(listing_of("all", "live=sse&offset=now"))
    counted = {
        sample.values: sample.number
        for sample in gateway.route.samples()
        if sample.metric.name == "headgate_requests_total"
    }
    found = {labels[1:]: it for labels, it in counted.items() if "list" in labels and it}
    assert found == {("list", "2xx"): 2, ("list", "4xx"): 1}
    assert not any(it for labels, it in counted.items() if labels[1] in {"read", "sse"})
    uses = {it.holder.name: it for it in gateway.services.credential_uses}
    assert (uses["all"].requests, uses["one"].requests) == (2, 1)
    assert (uses["one"].failures, uses["one"].forbidden) == (1, 1)


async def test_an_overloaded_server_lists_nothing(gateway: Serving) -> None:
    gateway.services.shedding.limit_lag(0.1)
    for _ in range(2):
        gateway.services.shedding.add_lag(0.15)
    (await gateway.ask(listing_of("all"))).assert_problem(503, "max_loop_lag is reached")


async def test_without_listing_the_path_is_an_unknown_control_path(tokens_file: str) -> None:
    off = {"auth": ("tokens",)}
    async with serving(own=off, tokens_file=tokens_file) as gateway:
        for method in ("GET", "HEAD", "POST"):
            answer = await gateway.ask(listing_of("all", "", method))
            unknown = listing_of("all", "", method).replace(LIST.encode(), UNKNOWN.encode())
            assert answer.status == 404
            assert answer.same == (await gateway.ask(unknown)).same


async def test_subscriptions_have_all_other_control_paths(gateway: Serving) -> None:
    for path in ("__ds/jwks.json",):
        assert (await gateway.ask(get(f"{PREFIX}/{path}"))).status == 200
    for path in ("__ds/streams/", "__ds/streams/a", "__ds/streamsx"):
        (await gateway.ask(get(f"{PREFIX}/{path}"))).assert_problem(404, "no such control path")


async def test_a_reload_switches_the_list_on_and_off(tmp_path: Path) -> None:
    (tmp_path / "tokens.toml").write_text(token_entry("ann"))
    guarded = {"auth": ["tokens"], "tokens_file": str(tmp_path / "tokens.toml")}
    fields = {"Authorization": "Bearer ann"}
    async with reloadable(tmp_path, STREAMS, **guarded) as at:
        assert (await at.ask("PUT", f"{PREFIX}/a", b"x", **fields)).status == 201
        for _ in range(2):
            assert (await at.ask("GET", LIST, None, **fields)).status == 404
            assert await at.reload({**STREAMS, "listing": "on"}, **guarded) == ()
            assert (await at.ask("GET", LIST, None, **fields)).json()["streams"] == ["a"]
            assert (await at.ask("GET", f"{PREFIX}/__ds/jwks.json", None, **fields)).status == 200
            assert await at.reload(STREAMS, **guarded) == ()
