"""Multi-appends through the gateway to an HTTP origin that knows them, or does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import edge
from tests.support.http1 import Answer, ask
from tests.support.multi_append import MULTI, framed
from tests.support.origin_servers import own_log, reference
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, Serving, edge_serving, request

if TYPE_CHECKING:
    from tests.support.raw_origin import Play, Wire

S = f"{EDGE}/s"
OFFERED = "X-Stream-Multi: true"
HEAD_OFFERS = answer(b"", "Stream-Next-Offset: 0000", OFFERED)
HEAD_SILENT = answer(b"", "Stream-Next-Offset: 0000")
BODY = framed([b"a", b"bc"])


def taking(*fields: str) -> Play:
    """Takes the body of a write, and says that it is stored."""

    async def play(wire: Wire) -> None:
        await wire.body()
        await wire.send(answer(b"", "Stream-Next-Offset: 0001", *fields))

    return play


APPENDED = taking(OFFERED)
APPENDED_AS_DATA = taking()


async def multi_append(gateway: Serving, *values: str) -> Answer:
    lines = [f"X-Stream-Multi: {value}" for value in values or ("true",)]
    return await gateway.ask(request("POST", S, *lines, "Content-Type: text/plain", body=BODY))


def asked(raw: RawOrigin) -> list[str]:
    return [heard.method for heard in raw.heard]


async def test_the_origin_gets_one_head_request_to_learn_if_it_knows_multi_appends() -> None:
    async with RawOrigin(HEAD_OFFERS, APPENDED, APPENDED) as raw, edge_serving(raw) as gateway:
        for _ in range(2):
            got = await multi_append(gateway)
            assert (got.status, got.get("X-Stream-Multi")) == (200, "true")
        assert asked(raw) == ["HEAD", "POST", "POST"]
        assert "content-length" not in raw.heard[0].named
        assert raw.heard[1].named["x-stream-multi"] == "true"
        assert raw.heard[1].named["content-length"] == str(len(BODY))


@pytest.mark.parametrize("method", ["PUT", "HEAD", "POST"])
async def test_a_multi_append_after_a_response_with_the_offer_needs_no_head_request(
    method: str,
) -> None:
    async with RawOrigin(HEAD_OFFERS, APPENDED) as raw, edge_serving(raw) as gateway:
        told = await gateway.ask(request(method, S))
        assert told.get("X-Stream-Multi") == "true"
        assert (await multi_append(gateway)).status == 200
        assert asked(raw) == [method, "POST"]


async def test_a_multi_append_to_an_origin_without_the_offer_gets_501_and_is_not_sent() -> None:
    async with RawOrigin(HEAD_SILENT, HEAD_SILENT) as raw, edge_serving(raw) as gateway:
        for _ in range(2):
            refusal = await multi_append(gateway)
            refusal.assert_problem(501, "the origin does not know multi-appends")
            assert refusal.get("X-Stream-Multi") is None
        assert asked(raw) == ["HEAD", "HEAD"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["yes"], "X-Stream-Multi must be true, or absent"),
        (["true", "false"], "X-Stream-Multi is given more than once"),
        (["true", "true"], "X-Stream-Multi is given more than once"),
    ],
)
async def test_an_invalid_multi_append_header_gets_400_and_is_not_sent(
    values: list[str], why: str
) -> None:
    async with RawOrigin(HEAD_OFFERS, APPENDED) as raw, edge_serving(raw) as gateway:
        assert (await multi_append(gateway)).status == 200
        (await multi_append(gateway, *values)).assert_problem(400, why)
        assert asked(raw) == ["HEAD", "POST"]


async def test_an_offer_is_dropped_after_a_response_without_it_and_learned_again() -> None:
    plays = (HEAD_OFFERS, APPENDED, APPENDED_AS_DATA, HEAD_SILENT, HEAD_OFFERS, APPENDED)
    async with RawOrigin(*plays) as raw, edge_serving(raw) as gateway:
        assert (await multi_append(gateway)).status == 200
        await gateway.ask(request("POST", S, "Content-Type: text/plain", body=b"x"))
        assert (await multi_append(gateway)).status == 501
        assert (await multi_append(gateway)).status == 200
        assert asked(raw) == ["HEAD", "POST", "POST", "HEAD", "HEAD", "POST"]


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
async def test_a_multi_append_is_sent_if_the_head_request_gets_401_403_or_404(status: str) -> None:
    refusal = answer(b"", status=status)
    async with RawOrigin(refusal, APPENDED) as raw, edge_serving(raw) as gateway:
        assert (await multi_append(gateway)).status == 200
        assert asked(raw) == ["HEAD", "POST"]


@pytest.mark.parametrize(
    ("status", "refused", "said"),
    [
        ("429 Too Many Requests", 503, "the origin answers 429 to the HEAD"),
        ("500 Internal Server Error", 503, "the origin answers 500 to the HEAD"),
        ("503 Service Unavailable", 503, "the origin answers 503 to the HEAD"),
        ("301 Moved Permanently", 501, "the origin does not say whether"),
        ("405 No Such Method", 501, "the origin does not say whether"),
        ("410 Gone", 501, "the origin does not say whether"),
        ("501 Not Implemented", 501, "the origin does not say whether"),
    ],
)
async def test_a_multi_append_is_not_sent_while_the_head_request_fails(
    status: str, refused: int, said: str
) -> None:
    async with RawOrigin(answer(status=status), APPENDED) as raw, edge_serving(raw) as gateway:
        (await multi_append(gateway)).assert_problem(refused, said)
        assert asked(raw) == ["HEAD"]


async def test_a_plain_append_or_creation_causes_no_head_request() -> None:
    async with RawOrigin(APPENDED_AS_DATA) as raw, edge_serving(raw) as gateway:
        plain = request("POST", S, "Content-Type: text/plain", body=b"x")
        assert (await gateway.ask(plain)).status == 200
        created = await gateway.ask(request("PUT", S, OFFERED, body=BODY))  # the origin's to judge
        assert created.status == 200
        assert asked(raw) == ["POST", "PUT"]


@pytest.mark.usefixtures("processes")
def test_readers_at_the_origin_and_the_gateway_get_the_messages_of_a_multi_append() -> None:
    with own_log() as origin, edge(origin.url) as gateway:
        path = "/v1/stream/s"
        text = {"Content-Type": "application/json"}
        created = ask(gateway.port, "PUT", path, b"", **text)
        assert (created.status, created.get("X-Stream-Multi")) == (201, "true")
        first = ask(gateway.port, "GET", f"{path}?offset=-1")
        assert (first.body, first.get("X-Stream-Multi")) == (b"[]", None)
        body = framed([b"[1,2]", b'"a"'])
        got = ask(gateway.port, "POST", path, body, **text, **MULTI)
        assert got.status == 204
        for port in (origin.port, gateway.port):  # which keeps no answer of before
            assert ask(port, "GET", f"{path}?offset=-1").body == b'[[1,2],"a"]'
        again = ask(gateway.port, "POST", path, body[:-1], **text, **MULTI)
        again.assert_problem(400, "message 2 is cut")


@pytest.mark.usefixtures("processes")
def test_the_reference_server_gets_no_multi_append() -> None:
    with reference() as origin, edge(origin.url) as gateway:
        path = "/v1/stream/s"
        text = {"Content-Type": "text/plain"}
        assert ask(gateway.port, "PUT", path, b"", **text).get("X-Stream-Multi") is None
        refusal = ask(gateway.port, "POST", path, framed([b"a"]), **text, **MULTI)
        refusal.assert_problem(501, "without X-Stream-Multi")
        assert ask(gateway.port, "POST", path, b"a", **text).status == 204
        assert ask(origin.port, "GET", f"{path}?offset=-1").body == b"a"
