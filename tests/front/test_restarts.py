"""A Caddy that is killed again and again: connections wait for the next one."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from tests.front.fronted import HERE, HOST, Answer, Fronted, fronted
from tests.front.test_front import is_running
from tests.support.http1 import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

KILLS = 5  # of each server: the pauses before Caddy is started again double
SERVERS = 2
PATIENCE_S = 60.0
POLLS = 'headgate_live_readers{mode="long_poll",route="/v1/stream"}'
ANSWERED = b"HTTP/1.1 200 "


class Visitor(threading.Thread):
    """A client that opens one TLS connection after the other, each for one request.

    `failed` is what went wrong, apart from connections that were inside a Caddy when it was killed.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self.answered = 0
        self.reset = 0
        self.failed: list[str] = []
        self.done = threading.Event()
        self._port = port
        self._context = ssl._create_unverified_context()

    def run(self) -> None:
        """Connect until `done`."""
        while not self.done.is_set():
            try:
                self._visit()
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                self.reset += 1  # Caddy had accepted it
            except OSError as error:  # refused, timed out, or an alert
                self.failed.append(repr(error))

    def _visit(self) -> None:
        with (
            socket.create_connection((HERE, self._port), PATIENCE_S) as plain,
            self._context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            connection.sendall(
                b"GET /v1/stream/killed?offset=-1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            head = connection.recv(len(ANSWERED))
        if not head:
            self.reset += 1
        elif head == ANSWERED:
            self.answered += 1
        else:
            self.failed.append(repr(head))


def kill_caddy(server: Fronted) -> None:
    """Kill Caddy, and wait until the next one has served."""
    before, answers = server.caddy, server.metrics()["headgate_front_restarts_total"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not is_running(before), "it is dead")
    wait_until(
        lambda: server.metrics()["headgate_front_restarts_total"] == answers + 1, "it is noticed"
    )


def wait_for_answers(visitors: list[Visitor]) -> None:
    """Wait until each has got one more answer."""
    before = [visitor.answered for visitor in visitors]
    wait_until(
        lambda: all(one.answered > old for one, old in zip(visitors, before, strict=True)),
        "each is answered",
    )


def test_no_new_connection_is_refused_or_gets_an_alert_while_caddy_is_killed_ten_times(
    tmp_path: Path,
) -> None:
    for _ in range(SERVERS):
        with fronted(tmp_path) as server:
            server.put("killed", "hello")
            visitors = [Visitor(server.front_port) for _ in range(2)]
            for visitor in visitors:
                visitor.start()
            for _ in range(KILLS):
                kill_caddy(server)
                wait_for_answers(visitors)
            for visitor in visitors:
                visitor.done.set()
            for visitor in visitors:
                visitor.join()
            assert [visitor.failed for visitor in visitors] == [[], []]
            # At most the connection that each had in the Caddy that was killed.
            assert all(visitor.reset <= KILLS for visitor in visitors)


def poll_and_kill_caddy(server: Fronted, path: str) -> Answer:
    """Kill Caddy while a long-poll waits; return how the poll ends."""
    answers: list[Answer] = []
    reader = threading.Thread(target=lambda: answers.append(server.ask(path)))
    reader.start()
    wait_until(lambda: server.metrics().get(POLLS) == 1, "it is waiting")
    os.kill(server.caddy, signal.SIGKILL)
    reader.join()
    return answers[0]


def test_a_long_poll_cut_by_a_kill_of_caddy_gets_the_next_message_by_a_new_connection(
    tmp_path: Path,
) -> None:
    with fronted(tmp_path) as server:
        server.put("polled", "hello")
        tail = ask(server.port, "HEAD", "/v1/stream/polled").headers["stream-next-offset"]
        poll = f"/v1/stream/polled?offset={tail}&live=long-poll"
        for number in range(3):
            assert poll_and_kill_caddy(server, poll).status == 0
            body = f"message {number}"
            ask(server.port, "POST", "/v1/stream/polled", body.encode(), content_type="text/plain")
            # It waits in the backlog for the next Caddy.
            answer = server.ask(poll, "-D", "-")
            assert (answer.status, answer.body.rpartition("\n")[2]) == (200, body)
            tail = re.findall(r"stream-next-offset: (\S+)", answer.body)[0]
            poll = f"/v1/stream/polled?offset={tail}&live=long-poll"
