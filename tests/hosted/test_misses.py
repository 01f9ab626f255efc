"""Reads that are not kept: answered and counted alike, whether or not their fields came before."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import RecordDamaged
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from tests.support.gated_log import GatedLog, turns
from tests.support.log_lines import capture_logs
from tests.support.serving import get, offset, post, put, request, serving, serving_with
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import StreamState
    from tests.support.http1 import Answer, Client
    from tests.support.serving import Serving

ORDINARY = "X-Request-Id:a"  # in this form it is parsed with each request
ITEMS = b'["one",2,{"three":[4]}]'
LONG = b"x" * (CHUNK_BYTES - 1)


def told(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    fields = [field for field in answer.fields if field[0] != "x-request-id"]
    return answer.status, fields, answer.body


def counted(gateway: Serving) -> Counter[str]:
    traffic = gateway.route.traffic
    figures: Counter[str] = Counter()
    for name, numbers in (
        ("requests", enumerate(traffic.requests)),
        ("timed", ((of, sum(kept.counts)) for of, kept in traffic.durations.items())),
        ("results", enumerate(traffic.results)),
        ("resumes", enumerate(traffic.resumes)),
    ):
        figures.update({f"{name} {of}": number for of, number in numbers})
    figures["bytes out"] = traffic.response_bytes
    figures["shared by"] = int(traffic.collapsed.distribution().sum)
    return figures


async def asked(gateway: Serving, wire: bytes) -> tuple[object, Counter[str]]:
    """What a reader is told whom nothing that is kept can answer, and what is counted of it."""
    gateway.store.clear()
    before = counted(gateway)
    answer = await gateway.ask(wire)
    await turns(20)
    return told(answer), counted(gateway) - before


@pytest.mark.parametrize("lines", [[], ["Origin: https://a.example"], ["Accept-Encoding: gzip"]])
@pytest.mark.parametrize(
    "target",
    [
        *("text?offset=-1", "text", "text?x=1&offset=-1", f"text?offset={offset(1)}"),
        *("json?offset=-1", f"json?offset={offset(5)}", f"json?offset={offset(6)}"),
        *("long?offset=-1", f"long?offset={offset(CHUNK_BYTES)}", "closed", "ending", "window"),
        *(f"closed?offset={offset(3)}", "text?offset=now", "none", "text?offset=wrong"),
        *(f"text?offset={offset(9)}", f"text?offset={offset(0, generation=7)}", "gone"),
    ],
)
async def test_an_uncached_read_has_the_same_response_and_metrics_with_cached_fields(
    target: str, lines: list[str]
) -> None:
    async with serving() as gateway:
        await gateway.ask(put("text", body=b"one"))
        await gateway.ask(post("text", b"two"))
        await gateway.ask(put("json", body=ITEMS, content_type="application/json"))
        await gateway.ask(put("long", body=LONG))
        await gateway.ask(post("long", b"end"))
        await gateway.ask(post("long", b"more"))
        await gateway.ask(put("closed", "Stream-Closed: true", body=b"one"))
        await gateway.ask(put("ending", "Stream-Expires-At: 2999-01-01T00:00:00Z", body=b"one"))
        await gateway.ask(put("window", "Stream-TTL: 60", body=b"one"))
        await gateway.ask(put("gone", body=b"one"))
        await gateway.ask(put("fork", "Stream-Forked-From: /v1/stream/gone"))
        await gateway.ask(request("DELETE", "gone"))
        await asked(gateway, get(target, *lines))
        known = await asked(gateway, get(target, *lines))
        parsed = await asked(gateway, get(target, *lines, ORDINARY))
        assert known == parsed or known[0][0] >= 400  # type: ignore[index] # its body has its id


async def test_a_response_cached_for_offset_minus_1_is_a_hit_for_the_plain_target() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        assert (await gateway.ask(get("s?offset=-1"))).get("X-Cache") == "MISS"
        assert (await gateway.ask(get("s"))).get("X-Cache") == "HIT"


async def three_who_wait(gateway: Serving, log: GatedLog) -> list[Client]:
    """Readers of one answer, which the log does not tell yet."""
    await gateway.ask(put("s", body=b"one"))
    log.reads.clear()
    clients = [await gateway.connect() for _ in range(3)]
    for client in clients:
        client.send(get("s?offset=-1"))
    await until(lambda: gateway.route.reads.answers.joined == 2)
    return clients


@pytest.mark.usefixtures("late_fins")
async def test_a_shared_read_continues_until_its_last_reader_disconnects() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        clients = await three_who_wait(gateway, log)
        clients[0].abort()
        await until(lambda: gateway.limits.connections == 2)
        assert len(gateway.route.reads.answers.under_way) == 1
        for client in clients[1:]:
            client.abort()
        await until(lambda: not gateway.route.reads.answers.under_way)
        cut = gateway.route.traffic.request_count(0, 5)
        assert cut == 3
        log.reads.set()
        assert (await gateway.ask(get("s?offset=-1"))).body == b"one"


class DamagedLog(GatedLog):
    """Its records cannot be read."""

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        await self.reads.wait()
        raise RecordDamaged("the record is damaged")


class BrokenLog(GatedLog):
    """It raises what nobody expects."""

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        await self.reads.wait()
        raise ValueError("broken")


async def test_a_damaged_record_is_a_500_for_every_waiting_reader() -> None:
    log = DamagedLog()
    async with serving(log) as gateway:
        clients = await three_who_wait(gateway, log)
        log.reads.set()
        assert [(await client.answer()).status for client in clients] == [500] * 3
        assert gateway.route.traffic.request_count(0, 4) == 3


async def test_a_read_that_raises_is_a_500_and_logged_once() -> None:
    async with serving_with(put("s", body=b"one"), BrokenLog()) as gateway:
        client = await gateway.connect()
        with capture_logs() as lines:
            assert (await client.ask(get("s?offset=-1"))).status == 500
        assert [line["event"] for line in lines] == ["request.failed"]
