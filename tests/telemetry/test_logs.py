"""Log lines, as they leave a process of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway.telemetry import access_log, logs
from headgate_gateway.telemetry.access_log import LoggedRequest, Outcome
from headgate_gateway.telemetry.logs import as_utf8, redact
from tests.support.examples import examples

PRELUDE = """
import logging, warnings, msgspec
from headgate_gateway.telemetry import logs
from headgate_gateway.telemetry.access_log import AccessLog, LoggedRequest, Outcome
def request(level, target="/v1/stream/a", forwarded_for=None, user_agent=None, **changed):
    asked = LoggedRequest("GET", target, "192.0.2.1", forwarded_for, user_agent)
    outcome = Outcome("r-1", 200, 12, 0.12345678, "HIT", "/v1/stream", "answered")
    AccessLog(level).line(asked, msgspec.structs.replace(outcome, **changed))
"""


def stderr_of(program: str) -> list[str]:
    """The lines that a Python program writes to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def logged(program: str) -> list[dict[str, Any]]:
    """The JSON lines without their times, which are checked for their form."""
    events = [json.loads(line) for line in stderr_of(program)]
    for event in events:
        assert event.pop("ts").endswith("Z")
    return events


TEXT = st.text() | st.text('a"\\\x7f\ud800\u2028')


@given(
    st.builds(LoggedRequest, TEXT, TEXT, *[st.none() | TEXT] * 3),
    st.builds(
        Outcome,
        *(TEXT, st.integers(100, 599), st.integers(0), st.floats(0, 1e6)),
        *(TEXT, TEXT, st.sampled_from(["answered", "drain"]), st.none() | TEXT, st.none() | TEXT),
    ),
)
@settings(max_examples=examples(200))
def test_the_line_of_a_request_is_json_whatever_clients_send(
    asked: LoggedRequest, outcome: Outcome
) -> None:
    fields = json.loads("{" + access_log._fields(asked, outcome) + "}")
    assert fields["path"] == redact(asked.target)
    assert fields.get("user_agent") == (asked.user_agent and as_utf8(asked.user_agent, 200))
    assert [name for name, value in fields.items() if value is None] in ([], ["client"])


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (1.0, "1970-01-01T00:00:01Z"),
        (1.25, "1970-01-01T00:00:01.250000Z"),
        (1.999999, "1970-01-01T00:00:01.999999Z"),
        (2.000001, "1970-01-01T00:00:02.000001Z"),
    ],
)
def test_the_timestamp_of_a_log_line_is_exact_to_the_microsecond(moment: float, shown: str) -> None:
    assert logs._Stamp().at(moment) == shown


@pytest.mark.usefixtures("processes")
def test_request_and_error_lines_keep_their_order_also_when_the_process_exits() -> None:
    program = """
import asyncio
logs.configure("info", "json")
async def serve():
    request("info")
    logs.log.error("one")
    request("info")
    request("info")
    raise SystemExit
asyncio.run(serve())
"""
    assert [event["event"] for event in logged(program)] == ["request", "one", "request", "request"]


@pytest.mark.usefixtures("processes")
def test_a_request_is_completed_although_stderr_is_closed() -> None:
    program = 'import os; logs.configure("info", "json"); os.close(2); request("info"); print("on")'
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.stdout == "on\n"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("length", [200, 201])
def test_the_forwarded_for_value_is_logged_beside_the_client_and_cut_at_200_characters(
    length: int,
) -> None:
    (event,) = logged(
        f'logs.configure("info", "json"); request("info", forwarded_for="9" * {length})'
    )
    assert (event["client"], event["forwarded_for"]) == ("192.0.2.1", "9" * 200)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("log_level", "request_level", "lines"),
    [("info", "debug", 0), ("info", "info", 1), ("debug", "debug", 1), ("debug", "off", 0)],
)
def test_requests_are_logged_at_the_configured_level(
    log_level: str, request_level: str, lines: int
) -> None:
    program = f"""
logs.configure("{log_level}", "json")
request("{request_level}")
assert logs.requests_logged("{request_level}") is {bool(lines)}
"""
    assert len(stderr_of(program)) == lines


@pytest.mark.usefixtures("processes")
def test_log_format_auto_is_json_unless_stderr_is_a_terminal() -> None:
    program = 'logs.configure("info", "auto"); request("info")'
    (event,) = logged(program)
    assert event["event"] == "request"

    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", PRELUDE + program], stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "request_id" in shown
    assert not shown.startswith("{")


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a", "/a"),
        ("/a?", "/a?"),
        ("/a?offset=-1&live=sse", "/a?offset=-1&live=sse"),
        ("/a?token=abc&offset=1", "/a?token=[redacted]&offset=1"),
        ("/a?offset=1&rk=abc", "/a?offset=1&rk=[redacted]"),
        (
            "/a?key=a&KEY=b&Authorization=c",
            "/a?key=[redacted]&KEY=[redacted]&Authorization=[redacted]",
        ),
        ("/a?to%6Ben=abc", "/a?to%6Ben=[redacted]"),
        ("/a?token=a=b", "/a?token=[redacted]"),
        ("/a?token", "/a?token"),
        ("/a?token=a?token=b", "/a?token=[redacted]"),
        ("/a?keys=1", "/a?keys=1"),
    ],
)
def test_secret_query_parameters_are_redacted_in_log_lines(target: str, shown: str) -> None:
    assert redact(target) == shown


def test_targets_remembered_as_harmless_are_limited_and_never_have_a_secret() -> None:
    secret, escaped = "/a?token=abc", "/a?to%6Ben=abc"
    long = f"/{'a' * logs.SHORT_TARGET}"
    for target in (secret, escaped, long):
        redact(target)
    assert not logs._harmless & {secret, escaped, long}
    for number in range(logs.HARMLESS_TARGETS + 1):
        assert redact(f"/a?offset={number}") == f"/a?offset={number}"
        assert len(logs._harmless) <= logs.HARMLESS_TARGETS
    assert redact(secret) == "/a?token=[redacted]"
