"""SIGTERM while uploads are half sent: they get the grace time, and no more."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import content, create
from tests.support.http1 import Wire, ask, request
from tests.support.processes import Headgate, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]

BODY = b"0123456789"
TOLD_S = 20.0
END_S = 20.0


def begin_upload(server: Headgate) -> Wire:
    """An append that the server has in hand, without the second half of its body."""
    wire = Wire(server.port)
    whole = request("POST", "/v1/stream/s", BODY, content_type="text/plain", expect="100-continue")
    head = whole.removesuffix(BODY)
    wire.send(head)
    assert wire.answer("POST").status == 100
    wire.send(BODY[:5])
    return wire


def send_sigterm(server: Headgate) -> None:
    """SIGTERM; returns when new connections to the admin listener are told so."""
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: ask(server.admin_port, "GET", "/readyz").status == 503, within_s=TOLD_S)
    # The first one may have been made before the stop began, this one is made amid it.
    answer = ask(server.admin_port, "GET", "/readyz")
    assert answer.status == 503
    assert answer.json()["checks"]["server"] == "stopping"


def exit_status(server: Headgate, timeout_s: float) -> int:
    assert server.process is not None
    return server.process.wait(timeout_s)


def test_an_upload_that_ends_within_the_grace_time_is_stored(tmp_path: Path) -> None:
    grace = {"HEADGATE_SHUTDOWN__GRACE": "60"}
    with headgate(f"file:{tmp_path}", environment=grace) as server:
        create(server, "s", b"before")
        with begin_upload(server) as wire:
            send_sigterm(server)
            wire.send(BODY[5:])
            answer = wire.answer("POST")
            assert answer.status == 204
            assert wire.is_ended()
        assert exit_status(server, END_S) == 0
    with headgate(f"file:{tmp_path}") as server:
        assert content(server, "s") == b"before" + BODY
        assert ask(server.port, "HEAD", "/v1/stream/s").next_offset == answer.next_offset


def test_an_upload_that_never_ends_does_not_delay_the_exit_past_the_grace_time(
    tmp_path: Path,
) -> None:
    # As long as it takes to be told that it stops, on a busy machine.
    grace = {"HEADGATE_SHUTDOWN__GRACE": "5"}
    with headgate(f"file:{tmp_path}", environment=grace) as server:
        create(server, "s", b"before")
        with begin_upload(server) as wire:
            send_sigterm(server)
            assert exit_status(server, END_S) == 0
            assert wire.is_ended()
    with headgate(f"file:{tmp_path}") as server:
        assert content(server, "s") == b"before"
