"""The application of the page for Celery and RQ, with real workers and a real Redis."""

from __future__ import annotations

import os
import re
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headgate import RunState
from tests.client.printed_urls import with_url
from tests.client.sync.applications import of_python, process, programs, write
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from werkzeug import Response
    from werkzeug.test import TestResponse

    from tests.support.redis_servers import RedisServer

PRINTED_REDIS = "redis://127.0.0.1:6379"
WORKERS = {
    "Celery": (
        *of_python("celery"),
        *("-A", "work", "worker", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ),
    "RQ": (*of_python("rq"), "worker", "--path", ".", "--config", "settings"),
}
NAMES = ("app", "model", "work")  # of the modules of the page

# As `ask` of the page does, without the wait for a worker.
ENQUEUE: Mapping[str, Callable[[Any, str], object]] = {
    "Celery": lambda app, run: app.answer.apply_async([run, "forever"], task_id=run),
    "RQ": lambda app, run: app.queue.enqueue(app.answer, run, "forever", job_id=run),
}


@pytest.fixture(scope="module")
def redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def web(
    tmp_path: Path,
    url: str,
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    questions: list[str],
) -> Iterator[Any]:
    """The module `app` of the page, in this process."""
    redis.command("FLUSHALL")
    files = {
        name: program.replace(PRINTED_REDIS, redis.url)
        for name, program in programs("celery-and-rq.md", kind).items()
    }
    assert any(redis.url in program for program in files.values())
    files["model.py"] = programs("celery-and-rq.md")["model.py"]
    write(tmp_path, files, url, "orphan_after=1")
    if kind == "Celery":
        (added,) = programs("celery-and-rq.md", "Celery", "Continue after a kill").values()
        with (tmp_path / "work.py").open("a") as work:
            work.write(with_url(added, url))
    monkeypatch.syspath_prepend(tmp_path)
    for name in NAMES:  # another test may have imported its own module of this name
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = import_module("app")
    yield module
    module.runs.close(wait=0)
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name)


def asked(web: Any, run: str, question: str) -> TestResponse:
    response: TestResponse = web.app.test_client().post(
        f"/runs/{run}", query_string={"question": question}
    )
    assert response.status_code == 200
    return response


def read_to(response: Response, last: bytes) -> Iterator[bytes]:
    """Read up to an event, and return what comes after it."""
    pieces = response.iter_encoded()
    for piece in pieces:
        if last in piece:
            return pieces
    raise AssertionError(f"no {last!r} came")


def words(told: bytes) -> list[str]:
    """Return the words of the model's events."""
    return re.findall(r'"content":"(\w+) "', told.decode())


def ends(status: str) -> bytes:
    return f'event: end\ndata: {{"status":"{status}"'.encode()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [*map(int, found.split())]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["Celery", "RQ"])
def test_documented_workers_answer_stop_and_leave_an_orphaned_end_when_killed(
    web: Any, tmp_path: Path, kind: str, redis: RedisServer, questions: list[str]
) -> None:
    runs = web.runs
    environment = {"RQ_REDIS_URL": redis.url} if kind == "RQ" else {}
    with process(tmp_path, *WORKERS[kind], **environment) as worker:
        answer = asked(web, "1", "Once upon")
        assert answer.data.endswith(ends("finished") + b',"error":null}\n\n')
        again = web.app.test_client().get("/runs/1?after=1")
        assert words(again.data) == ["upon"]

        rest = read_to(asked(web, "2", "forever"), b"forever")
        ENQUEUE[kind](web, "waiting")
        assert web.app.test_client().delete("/runs/waiting").json == {"stopped": False}
        assert web.app.test_client().delete("/runs/2").json == {"stopped": True}
        assert ends("stopped") in b"".join(rest)

        rest = read_to(asked(web, "3", "forever"), b"forever")
        os.kill(children(worker.pid)[-1], signal.SIGKILL)
        assert ends("orphaned") in b"".join(rest)

        assert ends("finished") in asked(web, "4", "a time").data
        assert runs.state("3") == RunState("orphaned", "its producer is gone")
        assert runs.state("waiting") is None
        if kind == "Celery":
            goes_on_after_a_kill(web, worker.pid, questions)
        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: worker.poll() is not None, told=(tmp_path / "log").read_text)


def goes_on_after_a_kill(web: Any, worker: int, questions: list[str]) -> None:
    """Kill the process of a job in its second step, which another one does again."""
    sys.modules["work"].report.apply_async(["5", "Once upon a time"])
    rest = read_to(web.send(web.runs.follow("5", wait=30)), b'"time "')
    wait_until(lambda: "write Once upon a time" in questions)
    os.kill(children(worker)[-1], signal.SIGKILL)
    assert words(b"".join(rest)).count("write") == 1
    said = ["plan", "Once", "upon", "a", "time", "write", "Once", "upon", "a", "time"]
    assert words(web.app.test_client().get("/runs/5").data) == said
    assert questions[-3:] == [f"{key} Once upon a time" for key in ("plan", "write", "write")]
