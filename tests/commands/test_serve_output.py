"""The output of a server's start: where streams and dashboard are, and what to export."""

from __future__ import annotations

import os
import pty
import re
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.settings import Settings, load
from headgate_gateway.settings.reached import console_url, export_for_commands
from tests.support.given_settings import variables
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import AT_ONCE, HEADGATE, run, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def settings(**environment: str) -> Settings:
    return load(None, variables(environment), {})


@pytest.mark.parametrize(
    ("listen", "export"),
    [
        ("127.0.0.1:4437", None),
        ("127.0.0.1:8080", "export STREAM_URL=http://127.0.0.1:8080/v1/stream"),
        ("[::1]:8080", "export STREAM_URL=http://[::1]:8080/v1/stream"),
        ("0.0.0.0:8080", "export STREAM_URL=http://127.0.0.1:8080/v1/stream"),
        ("0.0.0.0:4437", None),
    ],
)
def test_the_start_prints_an_export_unless_commands_use_that_address_anyway(
    listen: str, export: str | None
) -> None:
    assert export_for_commands(settings(listen=listen, auth="none")) == export


def test_the_start_prints_the_dashboard_url_of_the_admin_address() -> None:
    made = settings(admin="127.0.0.1:8081")
    assert console_url(made) == "http://127.0.0.1:8081/"


@pytest.mark.usefixtures("processes")
def test_the_urls_shown_at_the_start_work_for_commands_and_a_browser(
    tmp_path: Path,
) -> None:
    port, admin = free_port(), free_port()
    ours, theirs = pty.openpty()
    server = start(
        [
            *(HEADGATE, "serve", "--storage", "memory:"),
            *("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"),
        ],
        environment={**os.environ, **AT_ONCE, "HTTPS_PROXY": "http://me:secret@proxy.example:3128"},
        stderr=theirs,
        folder=tmp_path,
    )
    try:
        os.close(theirs)
        wait_until(lambda: ask(admin, "GET", "/readyz").status == 200, "it serves")
        shown = os.read(ours, 4096).decode()
        (dashboard,) = re.findall(r"Dashboard at (\S+)", shown)
        assert dashboard == f"http://127.0.0.1:{admin}/"
        assert ask(admin, "GET", "/").status == 200
        assert "Requests of its own: webhooks directly\r\n" in shown
        (base,) = re.findall(r"export STREAM_URL=(\S+)", shown)
        environment = {**os.environ, "STREAM_URL": base}
        made = run([HEADGATE, "create", "story"], environment=environment)
        assert made.returncode == 0, made.stderr
        assert ask(port, "HEAD", "/v1/stream/story").status == 200
    finally:
        server.kill()
        server.wait()
        os.close(ours)
