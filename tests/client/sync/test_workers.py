"""Workers for threads, against Headgate."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from headgate import Fenced
from headgate.sync import Job, Worker

from tests.client.sync.feeds import send
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.threaded import Threaded


class Work:
    """A subscription with leases of a second to the streams below a folder of its own."""

    def __init__(self, streams: str) -> None:
        self.streams = streams
        self.name = uuid.uuid4().hex
        self.control = f"{streams}/__ds/subscriptions/{self.name}"
        send("PUT", f"{streams}/wake/{self.name}")
        document = {
            "type": "pull-wake",
            "pattern": f"{self.name}/*",
            "wake_stream": f"wake/{self.name}",
            "lease_ttl_ms": 1000,
        }
        send("PUT", self.control, document)
        send("PUT", f"{streams}/{self.name}/a")

    def append(self, *messages: object) -> None:
        """Append messages to the one stream."""
        send("POST", f"{self.streams}/{self.name}/a", list(messages))

    def cursor(self) -> str:
        """Return what is acknowledged of the stream."""
        (link,) = send("GET", self.control)["streams"]
        return str(link["acked_offset"])


@pytest.fixture
def work(server: Threaded) -> Work:
    return Work(server.streams)


def messages_of(job: Job) -> list[Any]:
    """Return all pending messages of a job."""
    return [message for stream in job.pending for message in stream.messages()]


def test_a_job_that_raises_comes_again_and_one_without_a_block_ends_with_its_turn(
    work: Work,
) -> None:
    work.append(1, None)
    seen: list[Any] = []
    generations: list[int] = []
    for job in Worker(work.streams, work.name):
        generations.append(job.generation)
        if len(generations) == 1:
            with job:
                raise RuntimeError
        else:
            seen += messages_of(job)
            if len(generations) == 3:
                break
            work.append(3)
    assert (seen, generations) == ([1, None, 3], [1, 2, 3])


def test_jobs_of_a_run_are_in_threads_and_their_leases_are_extended(work: Work) -> None:
    work.append(1)
    threads: list[str] = []
    worker = Worker(work.streams, work.name)
    is_over = threading.Event()

    def handle(job: Job) -> None:
        threads.append(threading.current_thread().name)
        is_over.wait(2.5)  # of leases of a second
        messages_of(job)
        worker.stop()

    worker.run(handle)
    assert threads != [threading.current_thread().name]
    assert len(threads) == 1
    assert work.cursor() != "-1"


def test_a_job_that_lost_its_lease_gets_no_more_messages(work: Work) -> None:
    work.append(1, 2)
    with Worker(work.streams, work.name) as worker:
        for job in worker:
            with job:
                worker.stop()
                messages = job.pending[0].messages()
                assert next(messages) == 1
                send("DELETE", work.control)
                wait_until(lambda job=job: job.is_lost)  # type: ignore[misc] # a bool
                with pytest.raises(Fenced, match="lost"):
                    next(messages)
                with pytest.raises(Fenced):
                    job.ack()


PAGE = (ROOT / "docs/client/worker.md").read_text()
(BLOCK,) = re.findall(r"```python\n(import signal\n\nimport headgate\.sync.*?)```", PAGE, re.DOTALL)
PROGRAM = f"""
import sys

url, confirmations = sys.argv[1:]
confirm = lambda name, order: print(order, flush=True)
{BLOCK.replace('"confirmations"', "confirmations")}
"""


@pytest.mark.usefixtures("processes")
def test_the_program_of_the_page_ends_by_sigterm_while_it_waits(work: Work) -> None:
    work.append("one")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, work.streams, work.name],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "one\n"
            wait_until(lambda: work.cursor() != "-1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
