"""Events of real servers, as the API, the page and the command tell them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.asking import api, page
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import HEADGATE, Headgate, headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until
from tests.workers.several import several

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")
EVENTS = [str(HEADGATE), "monitor", "events"]


def begun(server: Headgate, key: str) -> list[dict[str, Any]]:
    """Wait for events whose key begins with this."""

    def found() -> list[dict[str, Any]]:
        events = api(server, "events?limit=1000")["events"]
        return [event for event in events if f"{event['cause']} {event['subject']}".startswith(key)]

    wait_until(lambda: bool(found()), f"{key} is an event")
    return found()


def ended(server: Headgate, key: str) -> dict[str, Any]:
    wait_until(lambda: begun(server, key)[-1]["ended_at"] is not None, f"{key} has ended")
    return begun(server, key)[-1]


NAMED_S = 5.0  # from the kill of a worker until its card
STANDS_STILL_S = 15.0  # until a worker that answers nothing is a card: well before it is ended


def is_named(server: Headgate) -> bool:
    """Return whether a card says in the past tense what ended worker 1."""
    cards = {it["title"]: it for it in api(server, "overview")["attention"]}
    it = cards.get("a worker ended and was replaced (1)")
    words = r"worker 1 was killed by SIGKILL; a new one serves since \d\d:\d\d:\d\d UTC"
    return it is not None and it["level"] == "warning" and bool(re.fullmatch(words, it["sentence"]))


def test_a_killed_worker_and_a_reload_are_events_and_the_command_lists_them() -> None:
    with several(f"http://127.0.0.1:{free_port()}") as server:
        begun(server, "server.started")
        os.kill(server.workers()[1], signal.SIGKILL)
        wait_until(lambda: is_named(server), "it is a card", within_s=NAMED_S)
        killed = ended(server, "worker.ended 1")
        assert killed["sentence"] == "worker 1 was killed by SIGKILL"
        assert killed["ended_at"] > killed["at"]
        rows = {it["name"]: it for it in api(server, "gateways")["processes"]}
        assert list(rows) == ["supervisor", "worker 1", "worker 2"]
        assert [it["restarts"] for it in rows.values()] == [0, 1, 0]
        assert rows["worker 1"]["last_end"] == "was killed by SIGKILL"
        server.signal(signal.SIGHUP)
        begun(server, "server.reloaded")
        command = [*EVENTS, "--json", "--kind", "worker", "--admin", server.admin_url]
        listed = subprocess.run(command, capture_output=True, check=True, timeout=60)
        (line,) = [json.loads(line) for line in listed.stdout.splitlines()]
        assert (line["kind"], line["sentence"]) == ("worker", killed["sentence"])
        shown = page(server, "/events?kind=worker", "")
        assert "killed by SIGKILL" in shown
        assert "the server has started" not in shown


def test_a_worker_that_stands_still_is_a_card_while_it_does() -> None:
    with several(f"http://127.0.0.1:{free_port()}") as server:
        begun(server, "server.started")
        stopped = server.workers()[1]
        os.kill(stopped, signal.SIGSTOP)
        try:
            wait_until(
                lambda: any(
                    "worker 1" in it["sentence"] for it in api(server, "overview")["attention"]
                ),
                "it is a card",
                within_s=STANDS_STILL_S,
            )
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_an_origin_that_goes_and_returns_is_one_event_with_its_duration() -> None:
    origin = Headgate().start()
    try:
        with headgate(f"http://127.0.0.1:{origin.port}/v1/stream") as server:
            origin.terminate()
            assert ask(server.port, "GET", "/v1/stream/a").status == 502
            assert begun(server, "origin.down")[0]["lasts"]
            origin.start()
            event = ended(server, "origin.down")
            assert (event["level"], event["kind"]) == ("bad", "origin")
            assert event["ended_at"] > event["at"]
    finally:
        origin.close()


def test_the_command_follows_events_as_they_happen() -> None:
    with headgate() as server:
        begun(server, "server.started")
        command = [*EVENTS, "--follow", "--kind", "server", "--admin", server.admin_url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            assert "the server has started" in following.stdout.readline()
            server.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]  # it has started
            assert "the settings were read again" in following.stdout.readline()
            following.terminate()


def test_two_gateways_of_one_redis_show_the_events_of_each_other(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as redis,
        headgate(redis.url) as first,
        headgate(redis.url) as second,
    ):
        first.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]  # it has started
        (event,) = begun(second, "server.reloaded")
        assert event["gateway"].startswith(f"127.0.0.1:{first.port}/")
        assert begun(first, "server.reloaded")[0]["gateway"] == ""
