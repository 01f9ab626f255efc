"""The page of processes: what each one uses, how often it was replaced, and how that ended."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from admin.model.kinds import POINTS
from admin.processes.usage import UsageFigures, UsageRing
from admin.processes.usage_record import STEP_S, UsageRecord
from gateway.features.questions.process_source import ProcessReport, Restarts
from gateway.telemetry.metrics import OF_PROCESSES, Sample
from gateway.web.metrics import LAG
from tests.admin.consoles import NOW, Clock, observed
from tests.support.http1 import ask
from tests.support.processes import Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.telemetry.metrics import Snapshot

CPU = next(it for it in OF_PROCESSES if it.name == "process_cpu_seconds_total")


def told(server: Headgate) -> Any:
    """The processes as the API has them."""
    return json.loads(ask(server.admin_port, "GET", "/api/v1/processes").body)


def rows(server: Headgate) -> dict[str, Any]:
    """The rows by the names of the processes."""
    return {row["name"]: row for row in told(server)["processes"]}


@pytest.mark.usefixtures("processes")
def test_a_server_of_one_process_shows_its_figures_and_charts(tmp_path: Path) -> None:
    server = Headgate(f"file:{tmp_path}")
    try:
        server.start()
        wait_until(
            lambda: (rows(server).get("server") or {}).get("processor") is not None,
            "there are two looks",
        )
        view = told(server)
        (row,) = view["processes"]
        assert (row["name"], row["state"]["level"], row["restarts"]) == ("server", "good", 0)
        assert row["pid"] == server.pid
        assert row["memory"] > 1 << 20
        assert 0 < row["files"] < row["most_files"]
        assert row["loop_lag"] is not None
        assert row["started_at"] <= view["taken_at"]
        assert view["version"]
        assert view["gateways"] == []
        for name in ("processor", "memory", "files", "loop_lag", "connections"):
            assert [line["name"] for line in view["charts"][name]["lines"]] == ["server"]
        page = ask(server.admin_port, "GET", "/processes", Accept="text/html")
        assert str(server.pid).encode() in page.body
    finally:
        server.close()


@pytest.mark.usefixtures("processes")
def test_a_killed_worker_is_shown_with_its_successor_and_how_it_ended() -> None:
    server = Headgate("http://127.0.0.1:9", arguments=("--workers", "2"))
    try:
        server.start()
        wait_until(lambda: len(rows(server)) == 3, "there was a look")
        assert list(rows(server)) == ["supervisor", "worker 1", "worker 2"]
        killed = rows(server)["worker 2"]["pid"]
        os.kill(killed, signal.SIGKILL)
        wait_until(
            lambda: (
                rows(server)["worker 2"]["restarts"] == 1
                and rows(server)["worker 2"]["state"]["level"] == "good"
            ),
            "another worker is in its place",
        )
        row = rows(server)["worker 2"]
        assert row["pid"] not in {killed, None}
        assert row["last_end"] == "killed by SIGKILL"
        assert 0 <= told(server)["taken_at"] - row["last_ended_at"] < 60
        assert rows(server)["worker 1"]["restarts"] == 0
        assert rows(server)["supervisor"]["connections"] is None
    finally:
        server.close()


def report(pid: int, numbers: Snapshot | None, name: str = "worker 1") -> ProcessReport:
    problem = None if numbers is not None else "does not answer"
    return ProcessReport(name, pid, problem, Restarts(), numbers)


def used(seconds: float, late: int) -> Snapshot:
    return (Sample(CPU, (), seconds), observed(LAG, {LAG.bounds[0] / 2: late}))


def test_counters_begin_anew_with_another_process_and_after_a_missed_look() -> None:
    clock = Clock()
    record = UsageRecord(clock)
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
        clock.now = NOW + at * STEP_S
        record.update(clock.now, [look])
        (row,) = record.view().processes
        shares.append(row.processor)
        assert (row.loop_lag is None) is (row.processor is None)
    assert shares == [None, pytest.approx(0.4), None, pytest.approx(0.2), None, None]


def test_a_record_has_a_quarter_of_an_hour_of_the_processes_that_there_are() -> None:
    clock = Clock()
    record = UsageRecord(clock)
    for at in range(POINTS + 5):
        record.update(NOW + at * STEP_S, [report(1, used(at, at)), report(2, (), "worker 2")])
    clock.now = last = NOW + (POINTS + 4) * STEP_S
    (line,) = record.view().charts.processor.lines
    assert len(line.values) == POINTS
    assert None not in line.values
    record.update(last + STEP_S, [report(2, (), "worker 2")])
    view = record.view()
    assert [row.name for row in view.processes] == ["worker 2"]
    assert view.charts.processor.lines == ()


def test_a_point_of_a_longer_span_has_the_highest_figure_of_its_time() -> None:
    ring = UsageRing(20)
    for second, files in ((0, 3.0), (5, 9.0), (15, None), (19, 4.0), (60, None), (80, 1.0)):
        ring.add(NOW + second, UsageFigures(files=files))
    ring.add(NOW + 80 - 20 * POINTS, UsageFigures(files=7.0))
    shown = ring.values("files", NOW + 80)
    assert (len(shown), shown[-5:]) == (POINTS, (9.0, None, None, None, 1.0))
    assert set(shown[:-5]) == {None}
    assert set(ring.values("memory", NOW + 80)) == {None}
    assert ring.values("files", NOW + 20 * (POINTS + 3))[:2] == (1.0, None)
