"""The processes of a gateway: what each one uses, how often it was replaced, how that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headgate_admin.record.processes import ProcessRecord
from headgate_gateway.features.questions.process_source import ProcessReport, Restarts
from headgate_gateway.telemetry.health import Cause
from headgate_gateway.telemetry.metrics import OF_PROCESSES, Sample
from headgate_gateway.web.metrics import LAG
from tests.admin.asking import api, page
from tests.admin.consoles import NOW, observed
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.telemetry.metrics import Snapshot
    from tests.support.processes import Headgate

CPU = next(it for it in OF_PROCESSES if it.name == "process_cpu_seconds_total")


def rows(server: Headgate) -> dict[str, Any]:
    """Return the rows by the names of the processes."""
    return {row["name"]: row for row in api(server, "gateways")["processes"]}


@pytest.mark.usefixtures("processes")
def test_a_ready_server_of_one_process_is_serving_and_shows_its_figures(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        overview = api(server, "overview")
        assert overview["instance"]["state"] == {"level": "good", "words": "serving"}
        wait_until(
            lambda: (rows(server).get("server") or {}).get("processor") is not None,
            "there are two looks",
        )
        view = api(server, "gateways")
        (row,) = view["processes"]
        assert (row["name"], row["state"]["level"], row["restarts"]) == ("server", "good", 0)
        assert row["pid"] == server.pid
        assert row["memory"] > 1 << 20
        assert 0 < row["files"] < row["most_files"]
        assert row["loop_lag"] is not None
        assert row["started_at"] <= view["taken_at"]
        (gateway,) = view["gateways"]
        assert (gateway["is_this"], gateway["clock_skew"], gateway["workers"]) == (True, 0, 1)
        assert gateway["version"]
        assert str(server.pid) in page(server, "/gateways", "")


def report(pid: int, numbers: Snapshot | None, name: str = "worker 1") -> ProcessReport:
    cause = None if numbers is not None else Cause("silent")
    return ProcessReport(name, pid, cause, Restarts(), numbers)


def used(seconds: float, late: int) -> Snapshot:
    return (Sample(CPU, (), seconds), observed(LAG, {LAG.bounds[0] / 2: late}))


def test_counters_begin_anew_with_another_process_and_after_a_missed_look() -> None:
    record = ProcessRecord()
    shares: list[float | None] = []
    looks = [
        report(1, used(10.0, 5)),
        report(1, used(12.0, 9)),
        report(2, used(0.5, 1)),
        report(2, used(1.5, 9)),
        report(2, None),
        report(2, used(9.0, 20)),
    ]
    for at, look in enumerate(looks):
        record.update(NOW + at * 5, [look])
        (row,) = record.views
        shares.append(row.processor)
        assert (row.loop_lag is None) is (row.processor is None)
    assert shares == [None, pytest.approx(0.4), None, pytest.approx(0.2), None, None]
    record.update(NOW + 30, [report(1, (), "worker 2")])
    assert [row.name for row in record.views] == ["worker 2"]
