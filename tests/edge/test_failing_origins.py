"""An origin that answers with nothing but server errors is reported, and keeps its requests."""

from __future__ import annotations

import asyncio

import pytest

from headgate_gateway.origin import servers
from headgate_gateway.telemetry.health import by_name
from tests.support.log_lines import capture_logs
from tests.support.raw_origin import RawOrigin, Wire, answer
from tests.support.serving import EDGE, Serving, edge_serving, get
from tests.support.waiting import until

AFTER_S = 0.3
ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def _short_streaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "FAILING_AFTER_S", AFTER_S)


def origin_of(good: set[str]) -> RawOrigin:
    """Return an origin that answers with 500 to all names but these."""

    async def play(wire: Wire) -> None:
        name = wire.heard.target.rpartition("/")[2]
        await wire.send(answer(b"data", "Cache-Control: no-store") if name in good else ERROR)

    return RawOrigin(play)


def is_failing(gateway: Serving) -> bool:
    """Return whether note and gauge say that the origin is failing; they have to agree."""
    note = by_name(gateway.edge.notes())[f"origin {EDGE}"]
    gauge = [
        it.number for it in gateway.edge.samples() if it.metric.name == "headgate_origin_failing"
    ]
    assert gauge == [float(note is not None)]
    return note is not None


@pytest.mark.parametrize(
    ("before", "after", "fails"),
    [
        pytest.param("abab", "a", True, id="five-errors-for-two-streams"),
        pytest.param("aaaa", "b", True, id="the-last-for-another-stream"),
        pytest.param("aaaaaaaa", "aaaa", False, id="errors-for-one-stream-alone"),
        pytest.param("aba", "b", False, id="four-errors"),
        pytest.param("abab", "ga", False, id="another-answer-among-them"),
        pytest.param("ababab", "", False, id="all-within-the-time"),
    ],
)
async def test_an_origin_is_failing_after_nothing_but_errors(
    before: str, after: str, fails: bool
) -> None:
    async with origin_of({"g"}) as origin, edge_serving(origin) as gateway:
        with capture_logs() as lines:
            for name in before:
                assert (await gateway.ask(get(f"{EDGE}/{name}"))).status == 500
            await asyncio.sleep(AFTER_S if after else 0)  # the time itself is what is tested
            for name in after:
                await gateway.ask(get(f"{EDGE}/{name}"))
            assert is_failing(gateway) is fails
            assert len(origin.heard) == len(before + after), "requests go on"
            assert (await gateway.ask(get(f"{EDGE}/g"))).status == 200
            assert not is_failing(gateway)
    events = [it["event"] for it in lines if it["event"].startswith("origin.")]
    assert events == ["origin.failing", "origin.not_failing"] * fails


@pytest.mark.parametrize(("counts_after_s", "fails"), [(0.05, True), (60, False)])
@pytest.mark.parametrize("is_warm", [True, False])  # a connection to the origin is idle, or none
async def test_an_origin_that_hangs_is_failing_although_every_client_gives_up(
    counts_after_s: float, fails: bool, is_warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "ABANDONED_AFTER_S", counts_after_s)
    hangs = asyncio.Event()

    async def play(wire: Wire) -> None:
        if hangs.is_set():
            await asyncio.Event().wait()
        await wire.send(answer(b"data", "Cache-Control: no-store"))

    async with RawOrigin(play) as origin, edge_serving(origin) as gateway:
        if is_warm:
            assert (await gateway.ask(get(f"{EDGE}/a"))).status == 200
        hangs.set()
        for number in range(6):
            client, before = await gateway.connect(), len(origin.heard)
            client.send(get(f"{EDGE}/{number % 2}"))
            await until(lambda before=before: len(origin.heard) > before)  # type: ignore[misc]
            await asyncio.sleep(AFTER_S / 2)  # the time itself is what is tested
            client.abort()
            await until(lambda: gateway.edge.origin.requests.count == 0)
        assert is_failing(gateway) is fails
        note = by_name(gateway.edge.notes())[f"origin {EDGE}"]
        assert note is None or "has answered nothing, so that clients gave up, for" in note
        hangs.clear()
        assert (await gateway.ask(get(f"{EDGE}/b"))).status == 200
        assert not is_failing(gateway)


@pytest.mark.parametrize("status", [500, 404])
async def test_probes_that_are_answered_with_errors_show_a_failing_origin(status: int) -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()

    async with RawOrigin(head) as one, RawOrigin(head) as other:
        one.probe_script = other.probe_script = head
        route = {"origin": [one.url, other.url]}
        async with edge_serving(one, route) as gateway:
            servers = gateway.edge.origin.servers
            health = [(True, status == 500)] * 2  # none leaves its turn
            await until(lambda: [*servers.health().values()] == health)
