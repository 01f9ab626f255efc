"""An origin that no longer knows the streams that are followed, or the offsets asked for.

The loss of a stream is logged, and an offset past the tail is no loss.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import pytest

from headgate_gateway.edge.followed.checks import StreamChecks
from headgate_gateway.edge.followed.comparison import Evidence
from headgate_gateway.edge.followed.evidence import StreamEvidence
from headgate_gateway.edge.followed.followed_table import FollowedTable
from headgate_gateway.errors import StreamGone
from headgate_gateway.rules.read_rules import ANOTHER_STREAM, LostOffsets
from headgate_gateway.telemetry import rare_lines
from tests.edge.live_readers import S, following, live, polling, viewed
from tests.support.log_lines import capture_logs
from tests.support.raw_origin import RawOrigin, Wire, answer, silence
from tests.support.serving import EDGE, edge_serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.edge.reads.fetches import Fetch

EVENT = "origin.lost_stream"
DELETED = "the stream was deleted"
GONE = "the stream was deleted, or its offsets are of an earlier one"
OTHER_TYPE = answer(
    b"{}", "Content-Type: text/html", "Stream-Next-Offset: 0001", "Stream-Up-To-Date: true"
)


def losses(lines: Sequence[Any]) -> list[Any]:
    return [line for line in lines if line["event"] == EVENT]


def loss(reason: str, path: str = S, times: int = 1) -> dict[str, object]:
    return {"event": EVENT, "log_level": "warning", "reason": reason, "path": path, "times": times}


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        pytest.param(answer(status="404 Not Found"), DELETED, id="a-404"),
        pytest.param(answer(status="410 Gone"), GONE, id="a-410"),
        pytest.param(OTHER_TYPE, ANOTHER_STREAM, id="a-stream-of-another-type"),
    ],
)
async def test_a_stream_that_a_poll_no_longer_finds_is_logged(told: bytes, reason: str) -> None:
    async with live(b"a") as (origin, gateway):
        viewer = await following(gateway, "0001", "Cookie: token=secret")
        await origin.polled(1)
        with capture_logs() as lines:
            origin.answer_all(told)
            await viewer.events_to_the_end()
        assert losses(lines) == [loss(reason)]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        pytest.param(answer(status="404 Not Found"), DELETED, id="a-404"),
        pytest.param(OTHER_TYPE, ANOTHER_STREAM, id="a-stream-of-another-type"),
    ],
)
async def test_a_stream_that_a_read_no_longer_finds_is_logged_without_its_query(
    told: bytes, reason: str
) -> None:
    async with live(b"a") as (origin, gateway):
        of_mine = f"{S}?offset=0001&live=long-poll&sig=secret"
        poller = await gateway.connect()
        poller.send(get(of_mine))
        await origin.polled(1)
        with capture_logs() as lines:
            origin.instead = told
            await gateway.ask(get(f"{S}?offset=-1&sig=secret"))
            assert (await poller.answer()).status in {404, 410}
        assert losses(lines) == [loss(reason)]


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("status", ["403 Forbidden", "500 Oops"])
async def test_a_403_or_500_of_the_origin_is_not_logged_as_a_loss(status: str) -> None:
    async with live(b"a") as (origin, gateway):
        poller = await polling(gateway, "0001")
        await origin.polled(1)
        with capture_logs() as lines:
            origin.answer_all(answer(status=status))
            assert (await poller.answer()).status >= 500
        assert losses(lines) == []


async def test_a_deletion_through_the_gateway_is_not_logged_as_a_loss() -> None:
    async with viewed(b"a") as (_, gateway, viewer):
        with capture_logs() as lines:
            assert (await gateway.ask(request("DELETE", S))).status == 204
            await viewer.events_to_the_end()
        assert losses(lines) == []


async def test_a_404_to_the_poll_before_the_response_to_a_delete_is_not_logged_as_a_loss() -> None:
    asked, told = asyncio.Event(), asyncio.Event()

    async def poll_first(wire: Wire) -> None:
        if wire.heard.method == "DELETE":
            asked.set()
            await told.wait()
            await wire.send(answer(status="204 No Content"))
        else:
            await wire.send(answer(status="404 Not Found"))

    async with viewed(b"a") as (origin, gateway, viewer):
        origin.instead = poll_first
        with capture_logs() as lines:
            remover = await gateway.connect()
            remover.send(request("DELETE", S))
            await asked.wait()
            origin.tell()
            await viewer.events_to_the_end()
            told.set()
            assert (await remover.answer()).status == 204
        assert losses(lines) == []


async def test_a_404_for_a_stream_without_readers_is_not_logged_as_a_loss() -> None:
    async with live(b"a") as (origin, gateway):
        poller = await polling(gateway, "0001")
        await origin.polled(1)
        poller.close()
        await until(lambda: gateway.limits.connections == 0)
        with capture_logs() as lines:
            origin.answer_all(answer(status="404 Not Found"))
            await until(lambda: len(gateway.edge.feeds.table.by_key) == 0)
        assert losses(lines) == []


async def test_the_loss_of_many_streams_is_logged_at_most_once_an_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rare_lines, "EVERY_S", 0.2)
    loop = asyncio.get_running_loop()
    async with live(b"a") as (origin, gateway):
        viewers = []
        for number in range(9):
            viewer = await gateway.connect()
            viewer.send(get(f"{EDGE}/{number}?offset=0001&live=sse"))
            await viewer.answer()
            viewers.append(viewer)
        await until(lambda: origin.waiting == 9)
        with capture_logs() as lines:
            began = loop.time()
            origin.answer_all(answer(status="404 Not Found"))
            for viewer in viewers:
                await viewer.events_to_the_end()
            await until(lambda: sum(line["times"] for line in losses(lines)) == 9)
        assert losses(lines)[0]["times"] == 1
        took_s = loop.time() - began + 0.001  # uvloop's clock counts milliseconds
        assert len(losses(lines)) <= 1 + took_s / rare_lines.EVERY_S


KEY = ("h", "/s", (), "")


def test_ends_known_only_from_reads_are_refused_when_the_feed_is_lost() -> None:
    evidence = StreamEvidence(LostOffsets(), lambda: 100.0)
    for end in ("02", "05"):
        evidence.add(KEY, Evidence("-1", end, 1, b"", server="a"))
    evidence.lose(KEY, "01", "03", frozenset({"03"}))
    refused = [offset for offset in ("01", "03", "05", "06") if evidence.refuses(KEY, offset)]
    assert refused == ["03", "05"]
    assert [one.end for one in evidence.of(KEY)] == ["02"]


def test_a_read_whose_end_is_already_lost_starts_no_comparison() -> None:
    gone = Mock(side_effect=StreamGone("its offset is refused"))
    table = FollowedTable()
    evidence = StreamEvidence(LostOffsets(), lambda: 100.0)
    evidence.add(KEY, Evidence("-1", "05", 1, b"", server="a"))
    request = SimpleNamespace(path="/s", start="02", stream_key=KEY)
    fetch = cast("Fetch", SimpleNamespace(request=request, server="b"))
    assert StreamChecks(evidence, table, Mock(), gone).comparison_before(fetch) is None
    assert len(evidence) == 0


TAIL = ("Content-Type: text/plain", "Stream-Next-Offset: 0000_0009", "Stream-Up-To-Date: true")


@pytest.mark.parametrize(
    ("asked", "status"), [("0000_0009", 200), ("0000_0010", 200), ("0000_0011", 503)]
)
async def test_a_read_one_byte_past_the_origins_tail_gets_its_own_offset_back(
    asked: str, status: int
) -> None:
    async with RawOrigin(answer(b"", *TAIL)) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(get(f"{S}?offset={asked}"))
        assert got.status == status
        assert raw.lines() == [f"GET {S}?offset={asked}"]
        if status == 200:
            assert (got.body, got.get("Stream-Next-Offset")) == (b"", asked)
            assert got.get("Stream-Up-To-Date") == "true"


async def test_a_poll_one_byte_past_the_tail_waits_at_its_own_offset() -> None:
    news = answer(b"more", TAIL[0], "Stream-Next-Offset: 0000_0013", TAIL[2])
    async with RawOrigin(answer(b"", *TAIL), news, silence) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(get(f"{S}?offset=0000_0010&live=long-poll"))
        assert (got.status, got.body) == (200, b"more")
        assert got.get("Stream-Next-Offset") == "0000_0013"
        assert "offset=0000_0010" in raw.lines()[1]


async def test_a_response_with_data_that_ends_before_its_offset_is_a_503() -> None:
    async with RawOrigin(answer(b"data", *TAIL)) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(get(f"{S}?offset=0000_0010"))).status == 503
