"""Requests whose fields came before mean what they mean when they are parsed."""

from __future__ import annotations

import pytest

from headgate_gateway.runtime.request_fields import OWN_FIELDS
from headgate_gateway.web.requests import blocks
from headgate_gateway.web.requests.blocks import LONGEST_BLOCK, MOST_FIELDS
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, noted, post, put, request, serving
from tests.support.waiting import until

TEXT = "Content-Type: text/plain"


async def test_a_request_with_cached_fields_is_not_parsed_again_for_another_target_and_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = noted(monkeypatch)
    async with serving() as gateway:
        for name in ("a", "b"):
            await gateway.ask(put(name))
        client = await gateway.connect()
        await client.ask(post("a", b"one"))
        parsed.clear()
        assert (await client.ask(post("b", b"two"))).status == 204
        assert parsed == []
        assert (await gateway.ask(get("b?offset=-1"))).body == b"two"


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer a",
        "Cookie: a=b",
        "X-Api-Key: a",
        "Proxy-Authorization: Basic a",
        "Stream-Closed: true",
        pytest.param("CF-Ray: a\r\ncf-ray: b", id="an-own-field-twice"),
        pytest.param("X-Request-Id:a", id="an-own-field-in-another-form"),
        pytest.param(f"X-Request-Id: {'a' * 129}", id="an-own-field-over-its-length"),
        pytest.param("Connection: keep-alive, cf-ray\r\nCF-Ray: a", id="an-own-field-of-the-hop"),
        "Expect: 100-continue",
        "Connection: close",
        pytest.param(f"X-Long: {'x' * LONGEST_BLOCK}", id="a-field-over-the-limit"),
    ],
)
async def test_secret_or_unique_fields_are_not_cached(line: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        client = await gateway.connect()
        before = len(gateway.fast.blocks)
        client.send(post("a", b"one", line))
        while (await client.head()).status == 100:
            pass
        assert len(gateway.fast.blocks) == before
        client.close()
        await gateway.ask(post("a", b"one", "X-Other: a"))
        assert len(gateway.fast.blocks) == before + 1


@pytest.mark.parametrize("more", [0, 1])
async def test_a_request_of_many_fields_is_not_remembered(more: int) -> None:
    """Parsed, each takes ten times its bytes."""
    async with serving() as gateway:
        await gateway.ask(put("a"))
        before = len(gateway.fast.blocks)
        usual = post("a", b"").count(b"\r\n") - 2
        lines = [f"X-{number}: a" for number in range(MOST_FIELDS - usual + more)]
        await gateway.ask(post("a", b"one", *lines))
        assert len(gateway.fast.blocks) - before == (more == 0)


def stamped(seq: str, body: bytes = b"x", name: str = "Producer-Seq") -> bytes:
    """A producer's append."""
    return post("a", body, "Producer-Id: p", "Producer-Epoch: 0", f"{name}: {seq}", "X-More: 1")


async def test_writes_that_differ_only_in_lengths_and_sequence_numbers_are_not_parsed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = noted(monkeypatch)
    async with serving() as gateway:
        client = await gateway.connect()
        await client.ask(put("a"))
        await client.ask(post("a", b"1"))
        await client.ask(stamped("0"))
        parsed.clear()
        assert (await client.ask(post("a", b"22"))).status == 204
        for number in (1, 2):
            told = await client.ask(stamped(f"{number}", b"y" * number))
            assert (told.status, told.get("Producer-Seq")) == (200, f"{number}")
        gap = await client.ask(stamped("7"))
        assert (gap.status, gap.get("Producer-Expected-Seq")) == (409, "3")
        assert (await client.ask(stamped("2", b"yy"))).status == 204  # which is there
        assert (await client.ask(stamped("9007199254740992"))).status == 400
        client.send(stamped("3") + stamped("4", b"zzz"))  # in one commit
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        assert (await client.ask(put("b", body=b"new"))).status == 201
        assert parsed == []
        assert (await gateway.ask(get("a?offset=-1"))).body == b"1x22yyyxzzz"


VALUES = {
    **dict.fromkeys(OWN_FIELDS, "{:016x}"),
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-{:016x}-01",
    "Stream-Seq": "{:016d}",
    "Range": "bytes={:d}-",
}


@pytest.mark.parametrize("name", sorted(OWN_FIELDS.keys() - {"Content-Length", "Producer-Seq"}))
async def test_a_field_that_differs_each_time_is_forwarded_and_its_block_is_parsed_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = noted(monkeypatch)
    done = answer(b"", "Stream-Next-Offset: 9", status="204 No Content")
    async with RawOrigin(done) as raw, edge_serving(raw) as gateway:
        await gateway.ask(put("a"))
        lines = [f"{name}: {VALUES[name].format(number)}" for number in range(1, 5)]
        for line in lines:
            assert (await gateway.ask(post("a", b"x", line))).status == 204
            assert (await gateway.ask(post(f"{EDGE}/a", b"x", line))).status == 204
            if line is lines[0]:
                parsed.clear()
        assert parsed == []
        assert [line for one in raw.heard for line in one.fields if line in lines] == lines


async def test_a_field_dropped_on_one_route_is_looked_at_in_each_append_of_another() -> None:
    async with RawOrigin() as raw, edge_serving(raw, {"drop_headers": ["Stream-Seq"]}) as gateway:
        await gateway.ask(put("a"))
        lines = "Stream-Seq: 5", "X-More: 1"
        statuses = [(await gateway.ask(post("a", b"x", *lines))).status for _ in range(5)]
        assert statuses == [204, 409, 409, 409, 409]


async def test_a_flood_of_other_blocks_drops_none_that_comes_again_and_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = noted(monkeypatch)
    monkeypatch.setattr(blocks, "MOST_BLOCKS", 8)
    async with serving() as gateway:
        await gateway.ask(put("a"))
        await gateway.ask(post("a", b"x"))
        for number in range(20):
            await gateway.ask(post("a", b"x", f"A: {number}"))
            if not number % 3:
                parsed.clear()
                await gateway.ask(post("a", b"x"))
                assert parsed == []
            assert 0 < len(gateway.fast.blocks) <= 8


async def test_a_producer_append_is_forwarded_with_its_own_sequence_number() -> None:
    done = answer(b"", "Stream-Next-Offset: 9", status="204 No Content")
    async with RawOrigin(done) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        for number in range(3):
            wire = stamped(f"{number}").replace(b"/v1/stream/", f"{EDGE}/".encode())
            assert (await client.ask(wire)).status == 204
        lines = [line for one in raw.heard for line in one.fields]
        numbers = [line for line in lines if line.startswith("Producer-Seq")]
        assert numbers == [f"Producer-Seq: {number}" for number in range(3)]


LINES = {
    "a-path-with-an-empty-segment": b"POST //a HTTP/1.1\r\n",
    "a-fragment": b"POST /v1/stream/a#b HTTP/1.1\r\n",
    "a-url": b"POST http://headgate.test/v1/stream/a HTTP/1.1\r\n",
    "http-1-0": b"POST /v1/stream/a HTTP/1.0\r\n",
    "two-blanks": b"POST  /v1/stream/a HTTP/1.1\r\n",
    "a-line-ended-by-lf": b"POST /v1/stream/a HTTP/1.1\n",
    "a-method-in-mixed-case": b"PoST /v1/stream/a HTTP/1.1\r\n",
    "a-delete": b"DELETE /v1/stream/a HTTP/1.1\r\n",
}


@pytest.mark.parametrize("wire", LINES.values(), ids=LINES)
async def test_cached_fields_are_used_only_for_a_plain_request_line(wire: bytes) -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        known = post("a", b"one")
        await gateway.ask(known)
        line, _, rest = known.partition(b"\r\n")
        table = gateway.fast.blocks
        assert table.at(line + b"\r\n" + rest, 0) is not None
        assert table.at(wire + rest, 0) is None
        assert table.at(known[:-1], 0) is None, "a part"


async def test_a_repeated_get_with_a_body_is_forwarded_each_time() -> None:
    data = answer(b"data", "Cache-Control: max-age=9")
    async with RawOrigin(data) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        for name in ("a", "b", "a"):
            wire = request("GET", f"{EDGE}/{name}", TEXT, body=b"x")
            assert (await client.ask(wire)).status == 200
        assert len(raw.heard) == 3


async def test_a_head_request_does_not_inherit_the_length_of_an_append_with_equal_fields() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        for body in (b"a", b"bb", b"bb"):  # by its first lines, then by all of them
            await client.ask(post("s", body))
        head = post("s", b"bb").replace(b"POST", b"HEAD", 1)
        read = gateway.server.fast.blocks.at(head, 0)
        assert read is not None
        assert (read.body, "Content-Length" in read.headers) == (b"bb", False)


async def test_a_pipelined_append_may_be_split_at_any_byte() -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        client = await gateway.connect()
        await client.ask(post("a", b"one"))
        whole = post("a", b"two") + post("a", b"end")
        for cut in range(len(post("a", b"two")), len(whole)):
            connection = next(iter(gateway.server.connections))
            connection.data_received(whole[:cut])
            connection.data_received(whole[cut:])
            assert [(await client.answer()).status for _ in range(2)] == [204, 204]
            client.close()
            await until(lambda: gateway.limits.connections == 0)
            client = await gateway.connect()
            await client.ask(post("a", b"one"))
        expected = b"one" + (len(whole) - len(post("a", b"two"))) * b"twoendone"
        assert (await gateway.ask(get("a?offset=-1"))).body == expected
