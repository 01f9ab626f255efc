"""Nothing of a guarded route is done, told or looked up for whom its guard does not admit."""

from __future__ import annotations

import logging
from itertools import product
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from headgate_gateway.access.credentials import request_credential
from headgate_gateway.protocol.http.paths import MAX_PATH_BYTES
from headgate_gateway.telemetry import traffic as counted
from tests.support.guarded_gateway import CANARY, ROUTES, bearer, guarded, revoke, token
from tests.support.log_lines import capture_logs
from tests.support.serving import EDGE, PREFIX, get, post, put, request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http1 import Answer
    from tests.support.serving import Serving

APPEND = ("POST", "", ("Content-Type: text/plain",), b"more")
OPERATIONS = {
    "read": ("GET", "?offset=-1", (), b""),
    "poll": ("GET", "?offset=-1&live=long-poll", (), b""),
    "head": ("HEAD", "", (), b""),
    "options": ("OPTIONS", "", (), b""),
    "append": APPEND,
    "close": ("POST", "", ("Stream-Closed: true",), b""),
    "append and close": ("POST", "", (*APPEND[2], "Stream-Closed: true"), b"x"),
    "create": ("PUT", "", APPEND[2], b""),
    "delete": ("DELETE", "", (), b""),
    "unknown": ("PATCH", "", (), b""),
}
ENCODED = ("%74oken", "t%6Fken", "t%6fken", "to%6ben", "tok%65n", "toke%6E", "%74%6f%6b%65%6e")
READS = {"read", "poll", "head", "options"}
ORDINARY = "X-Request-Id:r"  # asks for an answer of its own, so it goes the ordinary way
WAYS: dict[str, tuple[str, ...]] = {"fast": (), "ordinary": (ORDINARY,)}


async def ask(gateway: Serving, operation: str, target: str, *lines: str) -> Answer:
    method, query, fields, body = OPERATIONS[operation]
    return await gateway.ask(request(method, f"{target}{query}", *fields, *lines, body=body))


def is_refused(answer: Answer, status: int) -> bool:
    """Whether it is a refusal that says nothing of the stream."""
    told = {"stream-next-offset", "etag", "stream-closed", "content-encoding"}
    return (
        answer.status == status and not told & answer.headers.keys() and b"data" not in answer.body
    )


@pytest.mark.parametrize("prefix", ROUTES)
async def test_each_operation_needs_a_token_that_permits_it(prefix: str, tmp_path: Path) -> None:
    cases = 0
    async with guarded(tmp_path) as gateway:
        # What is in the cache is the nearest to be given away.
        for _ in range(3):
            client = await gateway.connect()
            assert (await client.ask(get(f"{prefix}/a/s?offset=-1", bearer("ann")))).body == b"data"
        for operation, lines in product(OPERATIONS, WAYS.values()):
            target = f"{prefix}/a/s"
            reads = operation in READS
            refused = {
                (): 401,
                ("Authorization: Basic YTpi",): 401,
                (bearer("nobody"),): 401,
                (bearer("gone"),): 401,
                (bearer("ben"),): 403,
                (bearer("writer" if reads else "ann"),): 403,
            }
            for credential, status in refused.items():
                answer = await ask(gateway, operation, target, *credential, *lines)
                assert is_refused(answer, status), (operation, credential, lines, answer)
                challenge = answer.get("WWW-Authenticate") or ""
                assert challenge.startswith("Bearer") == (status == 401), answer
                presented = bool(credential) and "Basic" not in credential[0]
                assert ("invalid_token" in challenge) == (status == 401 and presented), answer
                cases += 1
        after = await gateway.ask(get(f"{prefix}/a/s?offset=-1", bearer("ann")))
        assert (after.body, after.get("Stream-Closed")) == (b"data", None), "not refused"
        for operation, lines in product(OPERATIONS, WAYS.values()):
            who = "ann" if operation in READS else "all"
            name = "a/s" if operation in READS else f"a/{operation.replace(' ', '-')}"
            if operation not in READS:
                await ask(gateway, "create", f"{prefix}/{name}", bearer("all"))
            answer = await ask(gateway, operation, f"{prefix}/{name}", bearer(who), *lines)
            assert answer.status not in {401, 403, 404}, (operation, answer)
            cases += 1
    assert cases == len(OPERATIONS) * len(WAYS) * 7


async def test_a_fork_needs_a_token_that_may_read_its_source(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        cases = (("a/s", "all", 201), ("a/s", "writer", 403), ("b/s", "writer", 403))
        for source, who, status in cases:
            fork = put(f"{PREFIX}/fork", bearer(who), f"Stream-Forked-From: {PREFIX}/{source}")
            assert (await gateway.ask(fork)).status == status, (source, who)


@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_cors_preflight_needs_no_credential(prefix: str, tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        asked = ("Origin: https://a.example", "Access-Control-Request-Method: GET")
        answer = await gateway.ask(request("OPTIONS", f"{prefix}/a/s", *asked))
        assert answer.status == 204


@pytest.mark.parametrize(("prefix", "way"), list(product(ROUTES, WAYS)))
async def test_a_token_in_query_or_cookie_permits_reads_but_no_writes(
    prefix: str, way: str, tmp_path: Path
) -> None:
    target, lines = f"{prefix}/a/s", WAYS[way]
    async with guarded(tmp_path) as gateway:
        by_query = f"{target}?offset=-1&token={token('ann')}"
        cookie = f"Cookie: x=1; __Secure-headgate={token('ann')}"
        # A browser with cookies for a folder and for all: the one with the longer path is first.
        both = f"{cookie}; __Secure-headgate={token('ben')}"
        by_cookies = [get(f"{target}?offset=-1", it, *lines) for it in (cookie, both)]
        for wire in (get(by_query, *lines), *by_cookies):
            for _ in range(3):
                answer = await gateway.ask(wire)
                assert (answer.status, answer.body) == (200, b"data"), answer
                assert answer.get("Referrer-Policy") == "no-referrer"
        for method in ("PUT", "POST", "DELETE"):
            wrong = request(method, f"{target}?token={token('all')}", *APPEND[2], *lines, body=b"x")
            assert (await gateway.ask(wrong)).status == 401
            by_cookie = f"Cookie: __Secure-headgate={token('all')}"
            wrong = request(method, target, by_cookie, *APPEND[2], *lines, body=b"x")
            assert (await gateway.ask(wrong)).status == 401
        twice = await gateway.ask(get(f"{by_query}&token=x", *lines))
        twice.assert_problem(400, "token")
        assert token("ann").encode() not in twice.wire


async def test_a_creation_like_one_before_needs_permission_for_its_path(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:

        async def made(name: str) -> int:
            return (await gateway.ask(put(f"{PREFIX}/{name}", bearer("maker")))).status

        assert [await made(f"a/{number}") for number in range(4)] == [201] * 4
        assert [await made("b/new"), await made("a/s"), await made("a/new")] == [403, 200, 201]
        admitted = gateway.route.traffic.decision_count(counted.ADMITTED)
        await made("a/more")
        assert gateway.route.traffic.decision_count(counted.ADMITTED) == admitted + 1
        await revoke(gateway, tmp_path, "maker")
        assert await made("a/last") == 401


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_routes_of_paths_are_remembered_up_to_a_length(more: int, tmp_path: Path) -> None:
    """Those of 8 KB, as long as a head may be, would take more than what is said of them."""
    path = f"{EDGE}/a/".ljust(MAX_PATH_BYTES + more, "x")
    async with guarded(tmp_path) as gateway:
        before = gateway.routes.place.cache_info().currsize
        await gateway.ask(get(path, bearer("ann")))
        assert gateway.routes.place.cache_info().currsize - before == (more <= 0)


@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_token_parameter_with_an_encoded_name_gets_400_and_is_not_logged(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An origin would read a token there, and whoever compares names would not."""
    caplog.set_level(logging.INFO, "headgate")
    cases = 0
    async with guarded(tmp_path, log_requests="info") as gateway:
        with capture_logs() as lines:
            for name, more, way in product(ENCODED, ("", f"&token={token('ann')}"), WAYS.values()):
                target = f"{prefix}/a/s?offset=-1&{name}={token('ann')}{more}"
                for credential in ((), (bearer("ann"),)):
                    answer = await gateway.ask(get(target, *credential, *way))
                    answer.assert_problem(400, "percent-encoded")
                    assert CANARY.encode() not in answer.wire
                    cases += 1
            other = await gateway.ask(
                get(f"{prefix}/a/s?offset=-1&%2574oken=x&a%20b=1", bearer("ann"))
            )
            assert other.body == b"data", "these are other names"
        assert CANARY not in str(lines)
        assert [line["event"] for line in lines] == ["request"] * (cases + 1)
    assert cases == len(ENCODED) * 2 * 2 * 2


@pytest.mark.parametrize("prefix", ROUTES)
async def test_responses_of_clients_on_a_connection_never_mix(prefix: str, tmp_path: Path) -> None:
    """A's answers never go to B, in whatever order they come, together or one by one."""
    mine = {who: get(f"{prefix}/{who[0]}/s?offset=-1", bearer(who)) for who in ("ann", "ben")}
    other = {
        "ann": get(f"{prefix}/b/s?offset=-1", bearer("ann")),
        "ben": get(f"{prefix}/a/s?offset=-1", bearer("ben")),
        "nobody": get(f"{prefix}/a/s?offset=-1"),
    }
    async with guarded(tmp_path) as gateway:
        client = await gateway.connect()
        for wire in [*mine.values()] * 3:  # read, kept, and its head remembered
            assert (await client.ask(wire)).status == 200
        answered = gateway.fast.answered
        for wire in mine.values():
            assert (await client.ask(wire)).status == 200
        assert gateway.fast.answered == answered + 2, "no head was remembered"
        sequence = [
            *((wire, 200) for wire in mine.values()),
            *((wire, 401 if who == "nobody" else 403) for who, wire in other.items()),
        ] * 4
        for wire, status in sequence:  # one by one
            assert (await client.ask(wire)).status == status
        await client.send_all(b"".join(wire for wire, _ in sequence))  # all in one piece
        got = [(await client.answer()).status for _ in sequence]
        assert got == [status for _, status in sequence]
        assert not any(
            token(who).encode() in head for head in gateway.fast.heads.fresh for who in mine
        )


@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_cached_request_gets_401_once_its_token_ends(prefix: str, tmp_path: Path) -> None:
    wire = get(f"{prefix}/a/s?offset=-1", bearer("late"))
    last = wire[:-2] + b"Connection: close\r\n\r\n"
    async with guarded(tmp_path) as gateway:
        client = await gateway.connect()
        for _ in range(3):
            assert (await client.ask(wire)).status == 200
            assert (await gateway.ask(last)).status == 200  # the way that makes no connection
        gateway.clock.advance(59.9)
        answered = gateway.fast.answered
        assert (await client.ask(wire)).status == 200
        gateway.clock.advance(0.1)
        assert (await client.ask(wire)).status == 401
        assert (await gateway.ask(last)).status == 401
        assert gateway.fast.answered - answered <= 1
        wire = get(f"{prefix}/a/s?offset=-1", bearer("ann"))
        for _ in range(3):
            assert (await client.ask(wire)).status == 200
        await revoke(gateway, tmp_path, "ann")
        assert (await client.ask(wire)).status == 401
        assert (await client.ask(get(f"{prefix}/a/s?offset=-1", bearer("all")))).status == 200


def told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """All that a client sees of an answer, but for what no two answers have in common."""
    fields = [field for field in answer.fields if field[0] not in {"date", "x-request-id"}]
    return answer.status, fields, answer.body


@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_concealed_stream_looks_like_a_missing_one(prefix: str, tmp_path: Path) -> None:
    """To each operation, on each way: 120 answers are compared."""
    pairs = 0
    async with guarded(tmp_path, {"conceal": "on"}) as gateway:
        for operation, lines in product(OPERATIONS, WAYS.values()):
            # What makes a stream or is not about one is compared with a read.
            like = "read" if operation in {"create", "options", "unknown"} else operation
            absent = await ask(gateway, like, f"{prefix}/a/none", bearer("all"), *lines)
            for name, credential in product(
                ("b/s", "b/none"), ((), (bearer("ann"),), (bearer("nobody"),))
            ):
                hidden = await ask(gateway, operation, f"{prefix}/{name}", *credential, *lines)
                assert told(hidden) == told(absent), (operation, name, credential)
                pairs += 1
            assert absent.status == 404
    assert pairs == len(OPERATIONS) * len(WAYS) * 6


async def test_operations_permitted_to_anonymous_clients_need_no_token(tmp_path: Path) -> None:
    async with guarded(tmp_path, {"anonymous": ["read"]}) as gateway:
        for prefix in (PREFIX, EDGE):
            for _ in range(3):
                answer = await gateway.ask(get(f"{prefix}/a/s?offset=-1"))
                assert (answer.status, answer.body) == (200, b"data")
            assert (await ask(gateway, "append", f"{prefix}/a/s")).status == 401
            assert (await ask(gateway, "append", f"{prefix}/a/s", bearer("all"))).status == 204
            assert (await ask(gateway, "read", f"{prefix}/a/s", bearer("writer"))).status == 200
            assert (await ask(gateway, "read", f"{prefix}/a/s", bearer("nobody"))).status == 401


@pytest.mark.parametrize("extra", [(), ("X-Request-Id:mine",)], ids=["fast", "ordinary"])
async def test_accounts_at_one_address_have_separate_quotas(
    tmp_path: Path, extra: tuple[str, ...]
) -> None:
    """Not by the address, which both have."""
    made_before = 4  # by `all`, of the five that each may make
    async with guarded(tmp_path, max_client_appends=1, max_client_creations=5) as gateway:
        for who, rest in (("all", 5 - made_before), ("writer", 5)):
            lines = (bearer(who), *extra)
            made = [(await gateway.ask(put(f"{who}{n}", *lines))).status for n in range(rest + 2)]
            assert made == [201] * rest + [429] * 2
            sent = [await gateway.ask(post(f"{who}0", b"x", *lines)) for _ in range(2)]
            assert [answer.status for answer in sent] == [204, 429]
        assert gateway.limits.refused["max_client_appends"] == 2
        assert gateway.limits.refused["max_client_creations"] == 4


@pytest.mark.parametrize(("prefix", "way"), list(product(ROUTES, WAYS)))
async def test_closing_without_a_body_needs_no_append_permission_unless_chunked(
    prefix: str, way: str, tmp_path: Path
) -> None:
    """However its head says that there is none; what comes in chunks could be anything."""
    framings: dict[tuple[str, ...], tuple[int, bytes]] = {
        (): (204, b""),
        ("Content-Length: 0",): (204, b""),
        ("Transfer-Encoding: chunked",): (403, b"0\r\n\r\n"),
    }
    async with guarded(tmp_path) as gateway:
        for number, (lines, (status, body)) in enumerate(framings.items()):
            target = f"{prefix}/a/{number}"
            made = await gateway.ask(put(target, bearer("all"), body=b"data"))
            assert made.status == 201
            head = (f"POST {target} HTTP/1.1", "Host: headgate.test", bearer("closer"))
            fields = ("Stream-Closed: true", *lines, *WAYS[way], "", "")
            answer = await gateway.ask("\r\n".join((*head, *fields)).encode() + body)
            assert answer.status == status, (lines, answer)


@pytest.mark.parametrize(("prefix", "way"), list(product(ROUTES, WAYS)))
async def test_anonymous_permissions_add_to_a_token(prefix: str, way: str, tmp_path: Path) -> None:
    async with guarded(tmp_path, {"anonymous": ["read", "append"]}) as gateway:
        target = f"{prefix}/a/s"
        refused = await ask(gateway, "append and close", target, bearer("ann"), *WAYS[way])
        refused.assert_problem(403, "it needs close")
        answer = await ask(gateway, "append and close", target, bearer("closer"), *WAYS[way])
        assert answer.status in {200, 204}, answer


async def test_no_token_in_a_misspelt_parameter_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headgate")
    names = ("&amp;token", ";token", "&access_token", "&Token", "&amp;%74oken")
    async with guarded(tmp_path, log_requests="info") as gateway:
        with capture_logs() as lines:
            for name, way in product(names, WAYS.values()):
                target = f"{PREFIX}/a/s?offset=-1{name}={token('ann')}"
                for _ in range(3):
                    await gateway.ask(get(target, bearer("ann"), *way))
        assert CANARY not in str(lines)
        assert [line["event"] for line in lines] == ["request"] * len(names) * len(WAYS) * 3


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("a%2Bb%2Fc%3D", "a+b/c="),
        ("a+b/c=", "a+b/c="),
        ("a%0D%0Ab", "a%0D%0Ab"),  # it would be no token either: it is told to nobody so
        ("a%20b", "a%20b"),
    ],
)
def test_a_token_in_the_query_is_decoded_like_url_search_params(given: str, meant: str) -> None:
    presented = request_credential("GET", f"/s?offset=-1&token={given}", CIMultiDict())
    assert presented == (meant, "/s?offset=-1")
