"""Pages of other web origins: they write nothing, unless `write_origins` names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.guarded_gateway import bearer, guarded, token
from tests.support.raw_origin import RawOrigin
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.http1 import Answer

NAMED = "https://app.test"
STRANGER = "https://evil.test"


def is_refused(answer: Answer) -> bool:
    """Whether an answer is this very refusal, which names a setting."""
    return (
        answer.status == 403
        and b'"code":"origin_not_allowed"' in answer.body
        and (b"write_origins" in answer.body or b"cors_origins" in answer.body)
    )


WRITES_OF_STRANGERS = {
    "an-append": post("s", b"+evil", f"Origin: {STRANGER}"),
    "a-creation": put("t", f"Origin: {STRANGER}"),
    "a-delete": request("DELETE", "s", f"Origin: {STRANGER}"),
    "an-append-from-null": post("s", b"+evil", "Origin: null"),
    "an-append-from-an-empty-origin": post("s", b"+evil", "Origin: "),
    "an-append-from-a-host-that-begins-alike": post(
        "s", b"+evil", "Origin: https://headgate.test.x"
    ),
    "an-append-from-another-port": post("s", b"+evil", "Origin: https://headgate.test:8443"),
    "an-append-from-an-origin-without-a-scheme": post("s", b"+evil", "Origin: ://headgate.test"),
    "an-append-from-an-extension": post("s", b"+evil", "Origin: chrome-extension://headgate.test"),
}


@pytest.mark.parametrize("write", WRITES_OF_STRANGERS.values(), ids=WRITES_OF_STRANGERS)
@pytest.mark.parametrize(
    ("readers", "writers"), [(("*",), ()), (("*",), (NAMED,)), ((NAMED,), (NAMED,)), ((), ())]
)
async def test_a_page_of_an_unknown_origin_cannot_write(
    write: bytes, readers: Sequence[str], writers: Sequence[str]
) -> None:
    async with serving(cors_origins=readers, write_origins=writers) as gateway:
        assert (await gateway.ask(put("s", body=b"one"))).status == 201
        assert is_refused(await gateway.ask(write))
        assert (await gateway.ask(get("s?offset=-1"))).body == b"one"
        assert (await gateway.ask(get("t?offset=-1"))).status == 404


PAGES = {
    "a-named-page": f"Origin: {NAMED}",
    "the-host": "Origin: https://headgate.test",
    "the-host-in-capitals": "Origin: http://HEADGATE.test",
    "the-host-with-its-port": "Origin: https://headgate.test:443",
    "a-forwarded-host": "X-Forwarded-Host: app.example, b\r\nOrigin: https://app.example",
    "no-page": "X-No-Origin: 1",
}


@pytest.mark.parametrize("line", PAGES.values(), ids=PAGES)
async def test_pages_of_named_origins_and_of_the_host_itself_can_write(line: str) -> None:
    async with serving(write_origins=(NAMED,)) as gateway:
        writes = [put("s", line), post("s", b"one", line), request("DELETE", "s", line)]
        statuses = [(await gateway.ask(write)).status for write in writes]
        assert statuses == [201, 204, 204]


async def test_pages_of_all_origins_can_write_if_write_origins_is_a_star() -> None:
    async with serving(write_origins=("*",)) as gateway:
        assert (await gateway.ask(put("s", f"Origin: {STRANGER}"))).status == 201
        assert (await gateway.ask(post("s", b"one", f"Origin: {STRANGER}"))).status == 204


async def test_a_refused_write_from_an_unknown_page_does_not_reach_the_origin() -> None:
    created = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
    async with RawOrigin(created) as raw, edge_serving(raw, write_origins=(NAMED,)) as gateway:
        write = request("PUT", "/edge/s", f"Origin: {STRANGER}")
        assert is_refused(await gateway.ask(write))
        assert raw.lines() == []
        write = request("PUT", "/edge/s", f"Origin: {NAMED}")
        assert (await gateway.ask(write)).status == 201


READS, WRITES = "GET, HEAD, OPTIONS", "GET, HEAD, POST, PUT, DELETE, OPTIONS"


@pytest.mark.parametrize(
    ("page", "writers", "methods"),
    [
        (STRANGER, (), READS),
        (STRANGER, (NAMED,), READS),
        ("null", (NAMED,), READS),
        ("https://headgate.test", (), WRITES),
        (NAMED, (NAMED,), WRITES),
        (STRANGER, ("*",), WRITES),
    ],
)
async def test_a_preflight_response_allows_writes_only_to_permitted_pages(
    page: str, writers: Sequence[str], methods: str
) -> None:
    async with serving(write_origins=writers) as gateway:
        asked = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x")
        said = await gateway.ask(request("OPTIONS", "s", f"Origin: {page}", *asked))
        assert (said.status, said.get("access-control-allow-methods")) == (204, methods)


async def test_a_preflight_permits_what_clients_tracers_and_headgate_itself_send() -> None:
    fields = "cache-control,headgate-token,idempotency-key,traceparent,tracestate"
    asked = ("Access-Control-Request-Method: GET", f"Access-Control-Request-Headers: {fields}")
    async with serving() as gateway:
        said = await gateway.ask(request("OPTIONS", "s", f"Origin: {STRANGER}", *asked))
    allowed = (said.get("access-control-allow-headers") or "").lower().split(", ")
    assert {*fields.split(",")} <= {*allowed}


# ---------------------------------------------------------------- with a token

ASKS = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x, Authorization")


@pytest.mark.parametrize(
    ("page", "readers", "is_let"),
    [
        (STRANGER, ("*",), True),
        (NAMED, (NAMED,), True),
        (STRANGER, (NAMED,), False),
        (STRANGER, (), False),
        ("null", (NAMED,), False),
    ],
)
async def test_a_page_with_a_bearer_token_can_write_if_its_origin_can_read(
    page: str, readers: Sequence[str], is_let: bool, tmp_path: Path
) -> None:
    async with guarded(tmp_path, cors_origins=readers) as gateway:
        for prefix in (PREFIX, EDGE):
            writes = [
                put(f"{prefix}/p", bearer("all"), f"Origin: {page}"),
                post(f"{prefix}/a/s", b"+", bearer("all"), f"Origin: {page}"),
                request("DELETE", f"{prefix}/b/s", bearer("all"), f"Origin: {page}"),
            ]
            for write in writes:
                answer = await gateway.ask(write)
                assert answer.status in {201, 204} if is_let else is_refused(answer)
            asked = request("OPTIONS", f"{prefix}/p", f"Origin: {page}", *ASKS)
            methods = (await gateway.ask(asked)).get("access-control-allow-methods")
            assert methods == (WRITES if is_let else READS)


async def test_a_page_cannot_write_by_a_cookie_query_or_anonymous_right(tmp_path: Path) -> None:
    """Nor by a token that does not count."""
    async with guarded(tmp_path, {"anonymous": ["read", "append"]}) as gateway:
        page = f"Origin: {STRANGER}"
        for prefix in (PREFIX, EDGE):
            target = f"{prefix}/a/s"
            assert (await gateway.ask(post(target, b"+"))).status == 204
            assert is_refused(await gateway.ask(post(target, b"+", page)))
            for other in (f"Cookie: __Secure-headgate={token('all')}", "Authorization: Basic eDp5"):
                assert is_refused(await gateway.ask(post(target, b"+", page, other)))
            given = await gateway.ask(post(f"{target}?token={token('all')}", b"+", page))
            assert given.status in {400, 403}
            wrong = await gateway.ask(post(target, b"+", page, "Authorization: Bearer unknown"))
            assert wrong.status == 401
            assert (await gateway.ask(get(f"{target}?offset=-1"))).body == b"data+"


@pytest.mark.parametrize("prefix", [PREFIX, EDGE])
async def test_a_preflight_allows_writes_where_tokens_count(prefix: str, tmp_path: Path) -> None:
    """Though another route of the same gateway takes them."""
    async with guarded(tmp_path, own={"auth": "none"}) as gateway:
        said = await gateway.ask(request("OPTIONS", f"{prefix}/s", f"Origin: {STRANGER}", *ASKS))
        methods = said.get("access-control-allow-methods") or ""
        assert (said.status, "PUT" in methods) == (204, prefix == EDGE)


@pytest.mark.parametrize("lines", [(), ("X-Request-Id:r",)])
async def test_a_write_with_two_origin_headers_is_refused(lines: Sequence[str]) -> None:
    """Whoever is in front may have looked at the other one."""
    async with serving(write_origins=(NAMED,)) as gateway:
        assert (await gateway.ask(put("s", body=b"one"))).status == 201
        for pages in ((NAMED, STRANGER), (STRANGER, NAMED), (NAMED, NAMED)):
            origins = [f"Origin: {page}" for page in pages]
            answer = await gateway.ask(post("s", b"+two", *origins, *lines))
            answer.assert_problem(400, "Origin")
        assert (await gateway.ask(get("s?offset=-1"))).body == b"one"
