"""An origin that does not know the streams any more that are followed: the log says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from gateway.rules.read_rules import ANOTHER_STREAM
from gateway.telemetry import rare_lines
from tests.edge.live_readers import S, following, live, polling, viewed
from tests.support.raw_origin import Wire, answer
from tests.support.serving import EDGE, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence


EVENT = "origin.lost_stream"
DELETED = "the stream was deleted"
GONE = "the stream was deleted, or its offsets are of an earlier one"
OTHER_TYPE = answer(
    b"{}", "Content-Type: text/html", "Stream-Next-Offset: 0001", "Stream-Up-To-Date: true"
)


def losses(lines: Sequence[Any]) -> list[Any]:
    return [line for line in lines if line["event"] == EVENT]


def loss(reason: str, path: str = S, times: int = 1) -> dict[str, object]:
    return {
        "event": EVENT,
        "log_level": "warning",
        "reason": reason,
        "path": path,
        "times": times,
    }


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
