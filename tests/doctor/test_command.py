"""`headgate doctor cdn URL` itself: what it says, how it ends, and that nothing of it stays."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_doctor.checks.polls import LATER_S
from headgate_doctor.finding import CheckVerdict
from headgate_gateway.__main__ import cli as command
from tests.commands.conftest import TOKEN, CommandLine
from tests.doctor.deployments import (
    ALL,
    ENVIRONMENT,
    MADE,
    POLL_S,
    PRIVATE,
    WAITS,
    examined,
    finding,
    names_of_streams,
    of,
    saw,
)
from tests.support.ports import free_port
from tests.support.processes import HEADGATE, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

# Those of every check on a way without a fault: streams, their removal, and forty polls.
REQUESTS = 235
DOCTOR = HEADGATE.with_name("headgate-doctor")
# Some are made when others are removed already.
MADE_SOON = MADE - 6


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    with headgate(environment={**WAITS, **ENVIRONMENT}) as server:
        yield server


@pytest.fixture
def cli(server: Headgate) -> Iterator[CommandLine]:
    command_line = CommandLine(server.streams)
    yield command_line
    command_line.kill()


def invoke(*arguments: str, **environment: str) -> tuple[int, str]:
    """The exit status and everything that is said, without a process of its own."""
    result = CliRunner().invoke(command, ["doctor", "cdn", *arguments], env=environment)
    return result.exit_code, result.output


@pytest.mark.usefixtures("processes")
async def test_a_429_of_the_server_is_reported_with_the_limit_that_it_names() -> None:
    with headgate(
        environment={
            **ENVIRONMENT,
            "HEADGATE_LIMITS__MAX_CLIENT_APPENDS": "2",
        }
    ) as limited:
        examination = await examined(limited.streams)
    limit = finding(examination, "rate limit")
    assert (limit.verdict, limit.advice) == (CheckVerdict.FAIL, "server limit")
    assert "the server itself refused " in limit.saw
    assert "max_client_appends is reached" in limit.saw


@pytest.mark.usefixtures("processes")
async def test_a_limit_of_the_server_on_appends_is_no_fault_of_a_hop() -> None:
    low = {**WAITS, **ENVIRONMENT, "HEADGATE_LIMITS__MAX_APPEND": "512KiB"}
    with headgate(environment=low) as server:
        examination = await examined(server.streams)
    large = finding(examination, "large append")
    assert large.verdict is CheckVerdict.UNKNOWN
    assert "the body is over max_append" in large.saw


async def examine_with_a_password_in_the_url(server: Headgate) -> None:
    notes: list[str] = []
    examination = await examined(
        server.streams.replace("//", "//somebody:secret@"),
        environment={"STREAM_URL": server.streams, "STREAM_AUTH": TOKEN},
        notes=notes,
    )
    # Reads with credentials have no copies.
    assert of(examination, CheckVerdict.PASS) == ALL - {"chunks kept"}
    assert "20 reached the server" in saw(examination, "equal polls")
    assert examination.requests == REQUESTS
    assert notes == []
    assert not any("secret" in one.saw or "hush" in one.saw for one in examination.findings)


@pytest.mark.usefixtures("processes")
async def test_the_doctor_passes_a_headgate_without_a_proxy_in_front(
    server: Headgate, cli: CommandLine
) -> None:
    at_once = [
        cli.start("doctor", "cdn", *options, server.streams) for options in ((), ("--json",))
    ]
    await examine_with_a_password_in_the_url(server)
    (lines, before), (json_line, _) = (one.communicate(timeout=40) for one in at_once)
    assert [one.returncode for one in at_once] == [0, 0]
    assert before.decode().startswith(f"headgate: {server.streams} is sent at most 400 requests")
    assert before.count(b"\n") == 1
    title, _, *findings, _, summary = lines.decode().splitlines()
    assert title == server.streams
    assert {line[:16].strip() for line in findings} == {"pass", "note", ""}
    assert summary.startswith(f"{len(ALL) - 1} pass, 0 fail, 0 could not tell, 3 note; {REQUESTS} ")
    told = json.loads(json_line)
    verdicts = {one["check"]: one["verdict"] for one in told["checks"]}
    assert {name for name, verdict in verdicts.items() if verdict == "pass"} == ALL - {
        "chunks kept"
    }
    assert {name for name, verdict in verdicts.items() if verdict == "note"} == {
        "chunks kept",  # reads with credentials have no copies
        *PRIVATE,
    }
    assert {one["change"] for one in told["checks"]} == {""}
    assert (told["url"], told["requests"], told["left"]) == (server.streams, REQUESTS, [])
    # A long-poll, and the time after which it is asked again.
    assert POLL_S + LATER_S < told["seconds"] < 4 * POLL_S
    assert names_of_streams(server) == []


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_doctor_removes_its_streams(
    server: Headgate, cli: CommandLine, number: signal.Signals, status: int
) -> None:
    running = cli.start("doctor", "cdn", server.streams)
    wait_until(lambda: len(names_of_streams(server)) >= MADE_SOON, "most are made")
    running.send_signal(number)
    output, errors = running.communicate(timeout=20)
    assert (running.returncode, output) == (status, b"")
    assert b"Traceback" not in errors
    assert names_of_streams(server) == []


@pytest.mark.usefixtures("processes")
def test_the_doctor_of_an_unreachable_server_exits_with_2(cli: CommandLine) -> None:
    at = f"http://127.0.0.1:{free_port()}/v1/stream"
    done = cli("doctor", "cdn", at)
    assert (done.returncode, done.stdout) == (2, b"")
    said = done.stderr.decode().splitlines()
    why = "cannot connect: Connection refused"
    assert said[1:] == [f"headgate: {at} cannot be examined: {why}."]
    done = cli("doctor", "cdn", "--json", at)
    assert (done.returncode, json.loads(done.stdout)) == (2, {"url": at, "error": why})


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("redirection", "status", "complaint"),
    [
        (">&-", 1, "headgate-doctor: stdout cannot be written: Bad file descriptor.\n"),
        (">/dev/full", 1, "headgate-doctor: stdout cannot be written: No space left on device.\n"),
        ("| true", 2, ""),
    ],
    ids=["closed", "full", "closed-pipe"],
)
def test_a_report_that_cannot_be_written_is_said_on_stderr(
    redirection: str, status: int, complaint: str
) -> None:
    at = f"http://127.0.0.1:{free_port()}/v1/stream"
    line = f"{DOCTOR} --json {at} {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.partition("Connection refused.\n")[2] == complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["chat"], "it must be the URL below which streams are"),
        (["rediss://127.0.0.1"], "it must be the URL below which streams are"),
        (["127.0.0.1:4437"], "streams are: write http://127.0.0.1:4437/v1/stream"),
        (["[::1]:4437/s"], "streams are: write http://[::1]:4437/s"),
        (["u:pw@127.0.0.1:1/s"], "streams are, http://HOST/v1/stream"),
        (["http://h/x", "y"], "Got unexpected extra argument (y)"),
        (["--json"], "Missing argument 'URL'."),
        (["http://h/x", "--digest", "nginx"], "it is like nginx/4b377d29c24c42d1"),
        (["http://h/x", "--origin", "h"], "it must be one or two web origins such as https://"),
        pytest.param(
            ["http://h/x", *["--origin", "https://a", "--origin", "https://b"] * 2],
            "it must be one or two web origins",
            id="four-origins",
        ),
        (["http://h/x?live=sse"], "the URL has live= in its query"),
    ],
)
def test_bad_arguments_of_the_doctor_are_refused_with_2(
    arguments: list[str], complaint: str
) -> None:
    status, output = invoke(*arguments)
    assert status == 2
    assert complaint in " ".join(output.split())
