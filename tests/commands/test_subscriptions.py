"""`headgate stream subscriptions` against a server with its admin listener."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.commands.conftest import CommandLine
from tests.support.http1 import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")


class Hook:
    """A receiver that is done with each wake."""

    def __init__(self) -> None:
        self.wakes: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.wakes.append(json.loads(body))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"done": true}')

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A receiver on loopback."""
    made = Hook()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def line(processes: None, server: Headgate) -> Iterator[CommandLine]:
    """The command line, to which the admin listener is known; its subscriptions are deleted."""
    made = CommandLine(server.streams)
    made.environment |= {"STREAM_ADMIN_URL": server.admin_url}
    yield made
    with contextlib.suppress(AssertionError):
        for row in rows(made):
            made.output("stream", "subscriptions", "delete", row["id"])
    made.kill()


def rows(line: CommandLine, *arguments: str) -> list[dict[str, Any]]:
    """Return what `list` prints."""
    output = line.output("stream", "subscriptions", "list", "--json", *arguments)
    return [json.loads(it) for it in output.splitlines()]


def shown(line: CommandLine, name: str) -> dict[str, Any]:
    """Return what `show` prints."""
    found: dict[str, Any] = json.loads(
        line.output("stream", "subscriptions", "show", name, "--json")
    )
    return found


def create(line: CommandLine, name: str, **members: object) -> None:
    """Create a subscription, as its client does."""
    url = urlsplit(line.environment["STREAM_URL"])
    path = f"{url.path}/__ds/subscriptions/{name}"
    body = json.dumps({"pattern": f"{name}/*", **members}).encode()
    assert ask(url.port or 0, "PUT", path, body).status == 201


def webhook(hook: Hook) -> dict[str, object]:
    """Return the members of a subscription that calls a receiver."""
    return {"type": "webhook", "webhook": {"url": hook.url}}


def test_a_subscription_is_listed_shown_and_deleted(line: CommandLine, hook: Hook) -> None:
    more = {"lease_ttl_ms": 5000, "streams": ["one/b"], "description": "for bills"}
    create(line, "made", **webhook(hook), **more)
    create(line, "pool", type="pull-wake", wake_stream="wakes")
    assert [row["id"] for row in rows(line)] == ["made", "pool"]
    assert [row["id"] for row in rows(line, "--kind", "pull-wake")] == ["pool"]
    assert [row["id"] for row in rows(line, "--text", "BILLS")] == ["made"]
    text = line.output("stream", "subscriptions", "list").decode().splitlines()
    assert text[0] == f"active\twebhook\t1\t0\t-\t{hook.url}\tmade"
    assert shown(line, "made")["lease_ttl_ms"] == 5000
    described = line.output("stream", "subscriptions", "show", "made").decode()
    assert "pattern:       made/*" in described
    assert "acked    -1 there is none yet  one/b" in described
    line.output("stream", "subscriptions", "delete", "made")
    assert [row["id"] for row in rows(line)] == ["pool"]
    assert line("stream", "subscriptions", "show", "made").returncode == 3


def test_a_paused_subscription_is_woken_when_it_is_resumed_and_replayed(
    line: CommandLine, hook: Hook
) -> None:
    create(line, "s", **webhook(hook))
    line.output("stream", "subscriptions", "pause", "s")
    line.output("create", "s/a", "--content-type", "application/json", "--data", "1")
    assert [row["pending"] for row in rows(line, "--status", "paused")] == [1]
    assert hook.wakes == []
    line.output("stream", "subscriptions", "resume", "s")
    wait_until(lambda: bool(hook.wakes))
    wait_until(lambda: shown(line, "s")["row"]["pending"] == 0)
    line.output("stream", "subscriptions", "replay", "s", "--beginning")
    wait_until(lambda: len(hook.wakes) == 2)
    assert hook.wakes[1]["streams"][0]["acked_offset"] == "-1"
    offset = hook.wakes[1]["streams"][0]["tail_offset"]
    wait_until(lambda: shown(line, "s")["row"]["pending"] == 0)
    done = line.output(
        "stream", "subscriptions", "replay", "s", "--offset", offset, "--stream", "s/a", "--json"
    )
    assert json.loads(done)["streams"] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["replay", "x"], 2, b"--beginning"),
        (["replay", "x", "--offset", "1"], 2, b"--stream"),
        (["replay", "x", "--beginning"], 3, b"no subscription"),
        (["pause", "x"], 3, b"no subscription"),
        (["pause", "x", "--route", "/nowhere"], 3, b"/nowhere"),
        (["list", "--route", "/nowhere"], 3, b"/nowhere"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_request_that_makes_no_sense_is_refused(
    line: CommandLine, arguments: list[str], status: int, reason: bytes
) -> None:
    done = line("stream", "subscriptions", *arguments)
    assert done.returncode == status, done.stderr
    assert reason in done.stderr


def test_every_change_is_an_event_with_who_made_it(line: CommandLine, hook: Hook) -> None:
    create(line, "audited", **webhook(hook))
    for command in ("pause", "resume", "delete"):
        line.output("stream", "subscriptions", command, "audited")
    sentences = {
        "an unnamed operator: pause the subscription audited",
        "an unnamed operator: resume the subscription audited",
        "an unnamed operator: delete the subscription audited",
    }

    def are_told() -> bool:
        events = line.output("monitor", "events", "--kind", "change", "--json").splitlines()
        return sentences <= {json.loads(it)["sentence"] for it in events}

    wait_until(are_told)
