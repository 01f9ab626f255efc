"""The log lines about an origin that fails for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.telemetry import rare_lines
from tests.support.log_lines import capture_logs
from tests.support.raw_origin import RawOrigin, answer, close
from tests.support.serving import EDGE, edge_serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    import pytest


async def test_an_outage_of_the_origin_is_a_few_log_lines_and_one_for_its_recovery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rare_lines, "EVERY_S", 0.02)
    monkeypatch.setattr(rare_lines, "QUIET_S", 0.1)
    async with RawOrigin(close) as origin, edge_serving(origin) as gateway:
        with capture_logs() as lines:
            for number in range(100):
                ask = request("POST", f"{EDGE}/s", body=b"x") if number % 2 else get(f"{EDGE}/s")
                assert (await gateway.ask(ask)).status == 502
            failed = [line for line in lines if line["event"] == "origin.failed"]
            assert 1 < len(failed) < 15
            origin.scripts = [answer(b"data")]
            assert (await gateway.ask(get(f"{EDGE}/s"))).status == 200
            await until(lambda: any(line["event"] == "origin.recovered" for line in lines))
    told = [line for line in lines if line["event"].startswith("origin.")]
    assert [line["event"] for line in told].count("origin.recovered") == 1
    assert told[-1]["event"] == "origin.recovered"
    assert told[-1]["times"] == sum(line["times"] for line in told[:-1])
