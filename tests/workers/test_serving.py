"""Several workers on one port: together they are one server."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from tests.support.http1 import Wire, ask, request
from tests.support.ports import free_port
from tests.support.processes import HEADGATE, Headgate, headgate, run
from tests.support.waiting import wait_until
from tests.workers.several import Several, is_alive, several

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(180)

READS = 60
NOBODY = "http://127.0.0.1:9"  # an origin that is not asked
STREAM = "/v1/stream/s"
READ = f"{STREAM}?offset=-1"
POLLS = 'headgate_live_readers{mode="long_poll",route="/v1/stream"}'
HITS = 'headgate_cache_results_total{result="hit",route="/v1/stream"}'
ENTRIES = 'headgate_cache_entries{route="/v1/stream"}'


@pytest.fixture(scope="module")
def log(processes: None) -> Iterator[Headgate]:
    """An origin for all tests that leave it as it is."""
    with headgate() as started:
        yield started


@pytest.fixture
def origin(log: Headgate) -> Iterator[Headgate]:
    """It has one stream, which is new and ends with "one"."""
    assert ask(log.port, "PUT", STREAM, b"one", content_type="text/plain").status == 201
    yield log
    assert ask(log.port, "DELETE", STREAM).status == 204


@pytest.fixture(scope="module")
def lasting(processes: None, log: Headgate) -> Iterator[Several]:
    """Workers for all tests that leave them as they are."""
    with several(log.url, body_timeout="30") as started:
        yield started


@pytest.fixture
def server(processes: None, origin: Headgate) -> Iterator[Several]:
    # On a busy machine, more than the second may pass for which a tail is kept otherwise.
    with several(origin.url, route={"tail_max_age": 60}) as started:
        yield started


def refusal(*arguments: str, listen: int | None = None, admin: int | None = None) -> str:
    """What a Headgate that cannot start says last."""
    done = run(
        [
            *(HEADGATE, "serve", "--workers=2"),
            f"--listen=127.0.0.1:{listen or free_port()}",
            f"--admin=127.0.0.1:{admin or free_port()}",
            *arguments,
        ],
        timeout_s=30,
    )
    assert (done.returncode, done.stdout) == (2, b""), done
    return done.stderr.decode().splitlines()[-1]


@contextmanager
def connected(server: Several) -> Iterator[list[Wire]]:
    """Enough connections for each worker to have some."""
    with ExitStack() as opened:
        yield [opened.enter_context(Wire(server.port)) for _ in range(20)]


@contextmanager
def waiting(server: Several, tail: str) -> Iterator[list[Wire]]:
    """Long-polls at the tail."""
    with connected(server) as wires:
        for wire in wires:
            wire.send(request("GET", f"{STREAM}?offset={tail}&live=long-poll"))
        wait_until(lambda: server.metrics()[POLLS] == 20, "all polls wait")
        yield wires


@contextmanager
def uploading(server: Several) -> Iterator[list[Wire]]:
    """Appends of "+two" that are under way, and whose last three bytes are still to be sent."""
    whole = request("POST", STREAM, b"+two", content_type="text/plain", expect="100-continue")
    with connected(server) as wires:
        for wire in wires:
            wire.send(whole.removesuffix(b"+two"))
            assert wire.answer("POST").status == 100
            wire.send(b"+")
        yield wires


# ---------------------------------------------------------------- one server


def test_each_worker_has_its_own_cache_and_their_metrics_are_summed(server: Several) -> None:
    """New connections go to one or the other: each has to fetch the answer once."""
    answers = [ask(server.port, "GET", READ) for _ in range(READS)]
    assert {answer.body for answer in answers} == {b"one"}
    assert Counter(answer.headers["x-cache"] for answer in answers) == {"MISS": 2, "HIT": READS - 2}
    wait_until(lambda: server.metrics()[HITS] == READS - 2, "all are counted", server.output)
    numbers = server.metrics()
    assert numbers['headgate_cache_results_total{result="miss",route="/v1/stream"}'] == 2
    assert numbers[ENTRIES] == 2
    assert numbers['headgate_origin_fetches_total{route="/v1/stream"}'] == 2
    up = [number for name, number in numbers.items() if name.startswith("headgate_origin_up{")]
    assert up == [1]
    assert numbers["headgate_workers"] == 2


def test_the_connections_gauge_is_the_sum_over_all_workers(lasting: Several) -> None:
    with connected(lasting) as wires:
        for wire in wires:
            assert wire.request("GET", "/v1/stream/nothing").status == 404
        wait_until(lambda: lasting.metrics()["headgate_connections"] == 20, "all are counted")
    wait_until(lambda: lasting.metrics()["headgate_connections"] == 0, "no connection is left")


def test_log_lines_of_started_workers_name_worker_and_process(lasting: Several) -> None:
    (together,) = lasting.told("server.started")
    assert (together["workers"], together["pid"]) == (2, lasting.pid)
    started = lasting.events("worker.started")
    assert {line["worker"]: line["pid"] for line in started} == lasting.workers()


@pytest.mark.usefixtures("processes")
def test_readiness_names_the_workers_whose_origin_is_down() -> None:
    with headgate() as origin, several(origin.url) as server:
        assert server.readyz().json()["checks"] == {
            "server": "ok",
            "worker 1": "ok",
            "worker 2": "ok",
            "origin /v1/stream": "ok",
            "settings": "ok",
            "clock": "ok",
        }
        origin.kill()

        def is_noticed() -> bool:
            ask(server.port, "HEAD", STREAM)
            return server.check("origin /v1/stream").startswith("worker 1, 2: ")

        wait_until(is_noticed, "both workers find the origin away")
        assert server.is_ready()  # cached answers are served without an origin


# ---------------------------------------------------------------- start


@pytest.mark.usefixtures("processes")
def test_workers_refuse_a_listen_port_that_another_headgate_uses(lasting: Several) -> None:
    sentence = refusal(f"--origin={NOBODY}", listen=lasting.port)
    assert " (listen): address already in use; end what listens there" in sentence.casefold()


@pytest.mark.usefixtures("processes")
def test_an_admin_port_in_use_is_reported_in_one_sentence(lasting: Several) -> None:
    sentence = refusal(f"--origin={lasting.url}", admin=lasting.admin_port)
    assert " (admin): address already in use; end what listens there" in sentence.casefold()


@pytest.mark.usefixtures("processes")
def test_an_error_at_the_start_of_a_worker_ends_the_server_with_that_error(
    origin: Headgate, tmp_path: Path
) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        f'[[routes]]\nprefix = "/v1/stream"\norigin = "https://127.0.0.1:{origin.port}"\n'
        f'tls_ca = "{tmp_path}/none.pem"\n'
    )
    assert f"{tmp_path}/none.pem" in refusal("--config", str(config))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["memory:", "file:"])
def test_two_workers_for_a_memory_or_file_log_are_refused(kind: str, tmp_path: Path) -> None:
    storage = f"--storage={kind}{tmp_path if kind == 'file:' else ''}"
    done = CliRunner().invoke(cli, ["serve", "--workers=2", storage])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("headgate: --workers is 2, but must be 1 ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("processes")
def test_workers_share_a_port_chosen_by_the_kernel(origin: Headgate) -> None:
    with several(origin.url, listen="127.0.0.1:0") as server:
        (line,) = server.told("server.started")
        (url,) = line["routes"]
        port = int(re.findall(r":(\d+)/", url)[0])
        answers = [ask(port, "GET", READ).headers["x-cache"] for _ in range(READS)]
        assert answers.count("MISS") == 2


def test_workers_have_no_headgate_settings_in_their_environment(lasting: Several) -> None:
    """There whoever may look at a process would see also those that are not for workers."""
    for pid in lasting.workers().values():
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"PATH=" in environment
        assert b"HEADGATE_" not in environment


# ---------------------------------------------------------------- one that does not answer


def test_a_worker_that_hangs_is_named_in_the_checks_and_its_counters_are_kept(
    server: Several,
) -> None:
    for _ in range(READS):
        ask(server.port, "GET", READ)
    before = server.counters()
    hung = server.workers()[2]
    os.kill(hung, signal.SIGSTOP)
    wait_until(lambda: server.check("worker 2") == "does not answer", "it is missed")
    wait_until(lambda: server.check("worker 1") == "ok", "the other one is well")
    wait_until(
        lambda: server.metrics()["headgate_workers_silent"] == 1 and server.metrics()[ENTRIES] == 1,
        "the numbers are those of one",
    )
    now = server.counters()
    assert {name: n for name, n in before.items() if now[name] < n} == {}
    os.kill(hung, signal.SIGCONT)
    wait_until(server.is_ready, "the worker answers again")
    wait_until(lambda: server.metrics()["headgate_workers_silent"] == 0, "nobody is missed")


# ---------------------------------------------------------------- one that dies


def test_a_killed_worker_is_replaced_while_the_other_one_serves(server: Several) -> None:
    for _ in range(READS):
        ask(server.port, "GET", READ)
    before, pids = server.counters(), server.workers()
    os.kill(pids[1], signal.SIGKILL)
    (line,) = server.told("worker.ended")
    assert (line["worker"], line["reason"]) == (1, "was killed by SIGKILL")
    answers = [ask(server.port, "GET", READ) for _ in range(READS)]
    assert {answer.status for answer in answers} == {200}
    wait_until(server.is_ready, "the new worker serves")
    assert server.workers()[2] == pids[2]
    assert server.workers()[1] != pids[1]
    after = server.counters()
    assert {name: n for name, n in before.items() if after[name] < n} == {}
    assert after["headgate_worker_restarts_total"] == 1
    assert after[HITS] >= before[HITS] + READS - 2


@pytest.mark.smoke
def test_a_worker_that_gets_sigterm_is_replaced(server: Several) -> None:
    pids = server.workers()
    os.kill(pids[2], signal.SIGTERM)
    wait_until(lambda: len({*server.workers().values()} | {*pids.values()}) == 3, "a new one runs")
    wait_until(server.is_ready, "it serves")
    (line,) = server.told("worker.ended")
    assert (line["worker"], line["reason"]) == (2, "ended with status 0")


def test_a_worker_that_dies_again_soon_after_each_start_is_restarted_after_growing_pauses(
    server: Several,
) -> None:
    killed: set[int] = set()
    for _ in range(4):
        wait_until(lambda: server.workers().get(1) not in {None, *killed}, "worker 1 runs")
        killed.add(pid := server.workers()[1])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(server.events("worker.ended")) == len(killed), "it is noticed")
    # Told as long as nobody sits there: after the fourth, two seconds and another start.
    assert server.check("worker 1") == "was killed by SIGKILL, starting again"
    assert server.readyz().status == 200  # the other one serves
    lines = server.events("worker.ended")
    assert {(line["worker"], line["reason"]) for line in lines} == {(1, "was killed by SIGKILL")}
    assert [line["pause_s"] for line in lines] == [0.25, 0.5, 1, 2]
    wait_until(server.is_ready, "it serves at last")


# ---------------------------------------------------------------- stop


def test_sigterm_drains_the_polls_and_uploads_of_all_workers(
    origin: Headgate, server: Several
) -> None:
    tail = ask(origin.port, "HEAD", STREAM).next_offset
    with waiting(server, tail) as polls, uploading(server) as uploads:
        pids = server.workers()
        server.send_sigterm()
        for wire in polls:
            answer = wire.answer()
            assert (answer.status, answer.next_offset) == (204, tail)
        for wire in uploads:
            wire.send(b"two")
        assert [wire.answer("POST").status for wire in uploads] == [204] * 20
        assert server.exit_status(30) == 0
    assert ask(origin.port, "GET", READ).body == b"one" + b"+two" * 20
    assert server.events("worker.ended") == []
    stopped = [line.get("worker") for line in server.events("server.stopped")]
    assert {*stopped[:-1]} == {*pids}
    assert stopped[-1] is None  # the supervisor is the last


def is_cut(server: Several) -> bool:
    """One more signal, which changes nothing when it comes too early.

    No other one before it is clear that it was: one that comes as the process ends would end it.
    """
    server.signal(signal.SIGINT)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: bool(server.events("server.cut")), "it counts", within_s=2.0)
    return bool(server.events("server.cut"))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("workers", [2, 1])
def test_a_second_signal_well_after_the_first_ends_the_server_at_once(
    origin: Headgate, workers: int
) -> None:
    with several(origin.url, workers, shutdown_grace="60") as server, uploading(server):
        pids = server.workers()
        server.send_sigterm()
        wait_until(lambda: is_cut(server), "a signal counts")
        assert server.exit_status(30) == 1
        assert [pid for pid in pids.values() if is_alive(pid)] == []


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("workers", [2, 1])
@pytest.mark.parametrize(
    "signals",
    [
        pytest.param((signal.SIGINT,), id="one-signal"),
        pytest.param(
            (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP), id="four-signals"
        ),
    ],
)
def test_several_stop_signals_in_one_moment_count_as_one(
    origin: Headgate, workers: int, signals: tuple[signal.Signals, ...]
) -> None:
    """`timeout` and make pass on what the terminal or they themselves sent to the whole group."""
    with several(origin.url, workers, shutdown_grace="60") as server, uploading(server) as uploads:
        for number in signals:
            server.signal(number)
        wait_until(lambda: server.readyz().status == 503, "it stops")
        for wire in uploads:
            wire.send(b"two")
        assert {wire.answer("POST").status for wire in uploads} == {204}
        assert server.exit_status(30) == 0


@pytest.mark.usefixtures("processes")
def test_a_server_under_nohup_keeps_serving_after_sighup() -> None:
    with contextlib.closing(Headgate(preface=["nohup"])) as server:
        server.start()
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        for _ in range(2):  # the second one is asked when the signal has been looked at
            assert ask(server.admin_port, "GET", "/readyz").status == 200
        assert server.terminate() == 0


@pytest.mark.usefixtures("processes")
def test_a_worker_that_hangs_is_killed_at_a_stop_and_the_others_end(origin: Headgate) -> None:
    with several(origin.url, shutdown_grace="0.1") as server:
        pids = server.workers()
        os.kill(pids[1], signal.SIGSTOP)
        server.signal()
        assert server.exit_status(30) == 0
        assert [pid for pid in pids.values() if is_alive(pid)] == []
        (line,) = server.events("worker.killed")
        assert line["workers"] == 1


def test_workers_end_when_their_supervisor_is_killed(origin: Headgate, server: Several) -> None:
    with waiting(server, ask(origin.port, "HEAD", STREAM).next_offset) as polls:
        pids = server.workers()
        assert len(pids) == 2
        server.signal(signal.SIGKILL)
        assert {wire.answer().status for wire in polls} == {204}
        wait_until(lambda: not any(map(is_alive, pids.values())), "no worker is left")
