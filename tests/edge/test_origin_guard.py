"""Where an origin decides who may read: it is asked, and what it says counts for 30 s."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.origin_auth import requests as origin_auth_requests
from headgate_gateway.features.origin_auth.requests import PERMISSION_S, AskingRequests
from headgate_gateway.features.questions.streams import ExplainRequest, Explanation
from headgate_gateway.telemetry import traffic as counted
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer
from tests.support.serving import EDGE, Serving, edge_serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.http1 import Answer, Client
    from tests.support.raw_origin import Play

CANARY = "canary-0123456789abcdef"
STREAM = f"{EDGE}/s"
TAIL = "Stream-Up-To-Date: true"
CLOSED = (TAIL, "Stream-Closed: true")


def bearer(name: str) -> str:
    return f"Authorization: Bearer {CANARY}-{name}"


@dataclass
class Club:
    """An origin that knows its readers, and gives all of them the same."""

    members: set[str] = field(default_factory=lambda: {"ann", "ben", "cat"})
    refusal: str = "401 Unauthorized"
    says: tuple[str, ...] = ("Cache-Control: max-age=60",)
    held: asyncio.Event = field(default_factory=asyncio.Event)  # polls wait for it
    data: bytes = b"data"
    ends: tuple[str, ...] = (TAIL,)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, target, who
    tells_whom: bool = False
    may_write: bool = True

    async def __call__(self, wire: Wire) -> None:
        heard = wire.heard
        await wire.body()
        who = heard.named.get("authorization", "").removeprefix(f"Bearer {CANARY}-")
        self.asked.append((heard.method, heard.target, who))
        if "live=" in heard.target and who in self.members:
            await self.held.wait()
        is_write = heard.method not in {"GET", "HEAD"}
        if who not in self.members or (is_write and not self.may_write):
            challenge = "WWW-Authenticate: Basic realm=club"
            await wire.send(answer(b"", challenge, status=self.refusal))
            return
        end = "2_0" if "offset=1_0" in heard.target else "1_0"
        fields = ["Content-Type: text/plain", f"Stream-Next-Offset: {end}", *self.ends, *self.says]
        body = who.encode() if self.tells_whom else self.data
        whole = answer(body, *fields)
        await wire.send(whole.removesuffix(body) if heard.method == "HEAD" else whole)

    def count(self, method: str, who: str | None = None) -> int:
        return sum(one == method and who in {None, name} for one, _, name in self.asked)


@contextlib.asynccontextmanager
async def guarded(script: bytes | Play, **route: object) -> AsyncIterator[Serving]:
    route = {"auth": "origin", **route}
    async with RawOrigin(script) as origin, edge_serving(origin, route) as gateway:
        yield gateway


async def read(gateway: Serving, name: str, query: str = "offset=-1", *lines: str) -> Answer:
    return await gateway.ask(get(f"{STREAM}?{query}", bearer(name), *lines))


async def followers(gateway: Serving, offset: str = "1_0") -> dict[str, Client]:
    clients = {name: await gateway.connect() for name in ("ann", "ben")}
    for name, client in clients.items():
        client.send(get(f"{STREAM}?offset={offset}&live=sse", bearer(name)))
        assert (await client.head()).status == 200
    return clients


async def test_one_cached_response_serves_all_readers_that_the_origin_admits() -> None:
    club = Club()
    async with guarded(club) as gateway:
        first = await read(gateway, "ann")
        assert (first.status, first.body, first.get("x-cache")) == (200, b"data", "MISS")
        for name in ("ben", "cat", "ann"):
            again = await read(gateway, name)
            assert (again.body, again.get("x-cache")) == (b"data", "HIT")
        refused = await read(gateway, "eve")
    assert refused.status == 401
    assert refused.get("www-authenticate") == "Basic realm=club"
    assert b"data" not in refused.wire
    assert club.count("GET") == 1
    asked = [who for method, _, who in club.asked if method == "HEAD"]
    assert asked == ["ann", "ben", "cat", "eve"]


async def test_simultaneous_first_requests_of_one_reader_cause_one_admission_request() -> None:
    club = Club()
    async with guarded(club) as gateway:
        answers = await asyncio.gather(
            *(read(gateway, name) for name in ("ann", "ben") for _ in range(50))
        )
    assert {one.body for one in answers} == {b"data"}
    assert club.count("HEAD", "ann") == club.count("HEAD", "ben") == 1
    assert club.count("GET") == 1


async def test_an_admission_counts_for_auth_ttl_and_no_longer() -> None:
    club = Club(says=("Cache-Control: max-age=600",), ends=CLOSED)
    async with guarded(club, tail_max_age=600) as gateway:
        assert (await read(gateway, "ann")).status == 200
        club.members.discard("ann")
        gateway.clock.now += PERMISSION_S - 1
        assert (await read(gateway, "ann")).get("x-cache") == "HIT"
        gateway.clock.now += 1
        for status, line in ((401, "401 No"), (403, "403 No"), (404, "404 No"), (410, "410 No")):
            club.refusal = line
            refused = await read(gateway, "ann")
            assert (refused.status, b"data" in refused.wire) == (status, False)
        assert (await read(gateway, "ben")).get("x-cache") == "HIT"
    assert club.count("HEAD", "ann") == 5
    assert club.count("GET") == 1


async def test_an_origin_that_fails_admissions_admits_only_known_readers_until_auth_ttl() -> None:
    club = Club(says=("Cache-Control: max-age=600",), ends=CLOSED)
    async with guarded(club, stale_if_error=3600) as gateway:
        assert (await read(gateway, "ann")).status == 200
        assert (await read(gateway, "ben")).status == 200
        club.refusal, club.members = "503 Away", set()
        gateway.clock.now += PERMISSION_S - 1
        assert (await read(gateway, "ann")).status == 200
        gateway.clock.now += 1
        for name in ("ann", "ben", "cat"):
            refused = await read(gateway, name)
            refused.assert_problem(503, "503")
            assert refused.get("retry-after")
            assert b"data" not in refused.wire


async def test_a_stopped_origin_is_a_502_for_readers_without_an_admission() -> None:
    async with contextlib.AsyncExitStack() as stopping:
        origin = await stopping.enter_async_context(RawOrigin(Club()))
        async with edge_serving(origin, {"auth": "origin", "stale_if_error": 3600}) as gateway:
            assert (await read(gateway, "ann")).status == 200
            await stopping.aclose()
            (await read(gateway, "ben")).assert_problem(502, "it is not known who may read")


async def test_a_401_to_an_uncached_read_ends_the_admission() -> None:
    club = Club()
    async with guarded(club) as gateway:
        assert (await read(gateway, "ann")).status == 200
        club.members.discard("ann")
        miss = await read(gateway, "ann", "offset=1_0")
        assert (miss.status, miss.get("www-authenticate")) == (401, "Basic realm=club")
        assert (await read(gateway, "ann")).status == 401  # though a copy is fresh
        assert (await read(gateway, "ben")).get("x-cache") == "HIT"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
@pytest.mark.parametrize("may_read", [False, True])
async def test_a_refusal_of_another_method_has_the_origin_asked_again_who_may_read(
    method: str, may_read: bool
) -> None:
    club = Club(refusal="403 Forbidden", may_write=False)
    async with guarded(club) as gateway:
        assert (await read(gateway, "ann")).status == 200
        follower = await gateway.connect()
        follower.send(get(f"{STREAM}?offset=1_0&live=sse", bearer("ann")))
        assert (await follower.head()).status == 200
        if not may_read:
            club.members.discard("ann")
        lines = (bearer("ann"), "Content-Type: text/plain")
        body = b"x" if method in {"POST", "PUT"} else b""
        written = await gateway.ask(request(method, STREAM, *lines, body=body))
        assert written.status == (200 if method == "HEAD" and may_read else 403)
        again = await read(gateway, "ann")
        assert (again.status, again.get("x-cache")) == (
            (200, "HIT") if may_read else (403, "BYPASS")
        )
        if not may_read:
            await follower.events_to_the_end()


async def test_a_response_for_one_reader_is_sent_to_no_other_admitted_reader() -> None:
    for says in (
        ("Cache-Control: private, max-age=60",),
        ("Cache-Control: no-store",),
        ("Cache-Control: max-age=60", "Set-Cookie: a=b"),
        ("Cache-Control: public, max-age=60", "Set-Cookie: a=b"),
        ("Cache-Control: max-age=60", "Vary: Authorization"),
        ("Cache-Control: max-age=60", "Vary: *"),
    ):
        club = Club(says=says, tells_whom=True)
        async with guarded(club) as gateway:
            for _ in range(2):
                names = ["ann", "ben", "cat"] * 2
                answers = await asyncio.gather(*(read(gateway, name) for name in names))
                assert [one.body.decode() for one in answers] == names, says


async def test_a_write_is_sent_with_its_credentials_and_without_an_admission_request() -> None:
    club = Club()
    async with guarded(club) as gateway:
        lines = (bearer("ann"), "Content-Type: text/plain")
        assert (await gateway.ask(request("POST", STREAM, *lines, body=b"x"))).status == 200
        assert (await gateway.ask(request("POST", STREAM, body=b"x"))).status == 401
    assert [(method, who) for method, _, who in club.asked] == [("POST", "ann"), ("POST", "")]


async def test_a_token_in_the_query_reaches_the_origin_as_a_header_and_no_cache_key() -> None:
    club = Club()
    async with guarded(club) as gateway:
        for number, name in enumerate(("ann", "ben")):
            target = f"{STREAM}?offset=-1&token={CANARY}-{name}"
            one = await gateway.ask(get(target))
            assert (one.status, one.get("x-cache")) == (200, ("MISS", "HIT")[number])
        refused = await gateway.ask(get(f"{STREAM}?offset=-1&token={CANARY}-eve"))
        assert refused.status == 401
        keys = [*gateway.store._new, *gateway.store._used]
    assert {who for _, _, who in club.asked} == {"ann", "ben", "eve"}
    assert not any("token" in target for _, target, _ in club.asked)
    assert keys
    assert CANARY not in repr(keys)


async def test_each_other_query_is_admitted_by_a_request_of_its_own() -> None:
    club = Club()
    async with guarded(club) as gateway:
        for query in ("offset=-1", "offset=-1&tenant=a", "offset=-1&tenant=b"):
            for _ in range(2):
                assert (await read(gateway, "ann", query)).status == 200
    asked = [target for method, target, _ in club.asked if method == "HEAD"]
    assert asked == [STREAM, f"{STREAM}?tenant=a", f"{STREAM}?tenant=b"]


async def test_a_feed_continues_with_another_readers_credentials_after_a_refusal() -> None:
    club = Club()
    async with guarded(club) as gateway:
        clients = await followers(gateway)
        await until(lambda: any("live=" in target for _, target, _ in club.asked))
        polled = [who for _, target, who in club.asked if "live=" in target]
        assert len(polled) == 1
        refused = polled[0]
        other = "ben" if refused == "ann" else "ann"
        club.members.discard(refused)
        club.held.set()  # what was asked in his name is answered: the next poll is refused
        await until(lambda: ("GET", other) in {(m, w) for m, t, w in club.asked if "live=" in t})
        events = await clients[other].events_until(lambda told: len(told) >= 2)
        assert events[0].data == "data"
        club.held.clear()
        assert len(gateway.edges[0].feeds.table.by_key) == 1


async def test_private_responses_make_a_separate_feed_for_each_reader() -> None:
    club = Club(says=("Cache-Control: private",), tells_whom=True)
    async with guarded(club) as gateway:
        for name, client in (await followers(gateway, "-1")).items():
            events = await client.events_until(lambda told: len(told) >= 2)
            assert events[0].data == name
        assert len(gateway.edges[0].feeds.table.by_key) == 2


async def test_a_waiting_reader_is_admitted_anew_in_time_and_ended_after_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(origin_auth_requests, "PERMISSION_S", 1.0)
    club = Club()
    async with guarded(club) as gateway:
        clients = await followers(gateway)
        requests = gateway.edges[0].requests
        assert isinstance(requests, AskingRequests)
        guard = requests.guard
        assert guard.results == {"yes": 2, "no": 0, "failed": 0}
        for rounds in (2, 3, 4):
            gateway.clock.now += 0.9
            await until(lambda yes=2 * rounds: guard.results["yes"] == yes)  # type: ignore[misc]
        club.members.discard("ann")
        gateway.clock.now += 0.9
        await clients["ann"].events_to_the_end()
        assert len(gateway.edges[0].feeds.table.by_key) == 1
        await until(lambda: guard.results == {"yes": 9, "no": 1, "failed": 0})


async def test_explain_finds_a_reader_that_the_origin_admitted_by_cookie() -> None:
    """The origin is told of the cookie as it came, and not of an Authorization beside it."""

    yes = answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 0_0")
    async with guarded(yes) as gateway:
        cookie = f"__Secure-headgate={CANARY}"
        target = f"{STREAM}?offset=-1"
        assert (await gateway.ask(get(target, f"Cookie: {cookie}"))).status == 200
        question = ExplainRequest(target, (("Host", "headgate.test"), ("Cookie", cookie)), "GET")
        explained = await gateway.inspector.answer(question)
        assert isinstance(explained, Explanation)
        told = {step.title: step.outcome for step in explained.steps}
        assert told["Who is admitted"] == "whom the origin lets read, for 30 s more"


@pytest.mark.parametrize("query", ["offset=9&live=long-poll", "offset=9&live=sse", "offset=-1"])
async def test_a_client_that_disconnects_during_admission_causes_no_read(
    query: str,
) -> None:
    yes = answer(b"", "Stream-Next-Offset: 9", "Content-Type: text/plain")
    steps = Steps(b"", yes)
    route = {"auth": "origin"}
    async with RawOrigin(steps, yes) as origin, edge_serving(origin, route) as gateway:
        client = await gateway.connect()
        client.send(get(f"{STREAM}?{query}", bearer("ann")))
        await until(lambda: len(origin.heard) == 1)
        client.reset()
        await until(lambda: gateway.limits.connections == 0)
        steps.go()
        await until(lambda: gateway.edge.traffic.decisions[counted.ADMITTED] == 1)
        assert (await gateway.ask(get(f"{STREAM}?offset=1", bearer("ann")))).status == 200
        assert [heard.method for heard in origin.heard] == ["HEAD", "GET"]
        assert gateway.limits.live_readers == 0
