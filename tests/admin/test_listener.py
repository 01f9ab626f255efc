"""The admin listener withstands any client, and takes no resources from the streams."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.open_files import LEAST_ADMIN, MOST_ADMIN, admin_connections
from tests.support.http1 import ConnectionEnded, Wire, ask, request
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

STREAM = "/v1/stream/s"
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
HALF_BODY = (
    b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nname="
)
FILES = 128
# A hard limit, which the server cannot raise again.
FEW_FILES = ("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh")
IMPATIENT = {
    "HEADGATE_HTTP__BODY_TIMEOUT": "0.5",
    "HEADGATE_LOG__FORMAT": "json",
}


@contextlib.contextmanager
def connected(port: int, count: int, sent: bytes = HALF_HEAD) -> Iterator[list[Wire]]:
    """Open so many connections, and send this on each."""
    with contextlib.ExitStack() as opened:
        wires = []
        for _ in range(count):
            wire = Wire(port)
            opened.callback(wire.socket.close)
            with contextlib.suppress(ConnectionError):  # a refusal was faster
                wire.send(sent)
            wires.append(wire)
        yield wires


def numbers(server: Headgate) -> dict[str, float]:
    """Return the metrics of the admin listener."""
    lines = ask(server.admin_port, "GET", "/metrics").body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("headgate_admin_"))
    return {name.removeprefix("headgate_admin_"): float(number) for name, _, number in pairs}


def turned_away(server: Headgate) -> float:
    """Return how many connections were refused because there were too many."""
    told = numbers(server)
    limits = ("max_connections", "max_client_connections")
    return sum(told[f'refusals_total{{limit="{limit}"}}'] for limit in limits)


def events(server: Headgate, name: str) -> list[dict[str, object]]:
    """Return the log lines of an event."""
    lines = [json.loads(line) for line in server.output().splitlines()]
    return [line for line in lines if line["event"] == name]


@pytest.mark.usefixtures("processes")
def test_unfinished_admin_requests_leave_descriptors_for_streams() -> None:
    with headgate(preface=FEW_FILES) as server:
        with connected(server.admin_port, 500):
            created = ask(server.port, "PUT", STREAM, b"one", content_type="text/plain")
            assert created.status == 201
            read = ask(server.port, "GET", f"{STREAM}?offset=-1")
            assert (read.status, read.body) == (200, b"one")
        wait_until(
            lambda: turned_away(server) >= 500 - admin_connections(FILES), "the rest is refused"
        )


@pytest.mark.parametrize(
    ("open_files", "most"),
    [
        *((40, LEAST_ADMIN), (143, 8), (144, 9), (1024, 64), (4095, 255), (4096, 256)),
        *((1 << 20, MOST_ADMIN), (resource.RLIM_INFINITY, MOST_ADMIN)),
    ],
)
def test_the_limit_of_admin_connections_is_a_small_share_of_open_files(
    open_files: int, most: int
) -> None:
    assert admin_connections(open_files) == most


@pytest.mark.usefixtures("processes")
def test_authorization_in_two_lines_is_malformed_at_the_admin_listener() -> None:
    twice = "Authorization: Bearer a\r\nauthorization: Bearer b\r\n"
    with headgate() as server:
        for path in ("/metrics", "/api/v1/session", "/"):
            with Wire(server.admin_port) as wire:
                wire.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{twice}\r\n".encode())
                refused = wire.answer()
                assert refused.status == 400
                assert b"Authorization is given more than once" in refused.body


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/readyz"])
def test_an_admin_request_whose_fin_comes_with_it_is_answered(path: str) -> None:
    with headgate() as server:
        # The first /metrics takes 60 ms: on a busy machine, its FIN would be seen too late.
        assert ask(server.admin_port, "GET", path).status == 200
        with Wire(server.admin_port) as wire:
            wire.socket.sendall(request("GET", path), socket.MSG_MORE)  # in one packet with the FIN
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.answer().status == 200
            assert wire.is_ended()


@pytest.mark.usefixtures("processes")
def test_an_address_beyond_half_of_the_admin_connections_gets_429() -> None:
    with headgate(preface=FEW_FILES) as server:
        most = admin_connections(FILES) // 2
        with connected(server.admin_port, most, request("GET", "/healthz")) as wires:
            assert {wire.answer().status for wire in wires} == {200}
            with Wire(server.admin_port) as one_more:
                refusal = one_more.answer()
            refusal.assert_problem(429, "max_client_connections")
            assert refusal.headers["x-frame-options"] == "DENY"
            wires[0].socket.close()
            wait_until(
                lambda: ask(server.admin_port, "GET", "/healthz").status == 200, "there is room"
            )


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("sent", "limit"),
    [
        pytest.param(HALF_HEAD, "header_timeout", id="half-a-head"),
        pytest.param(HALF_BODY, "body_timeout", id="half-a-body"),
        (b"", "header_timeout"),
    ],
)
def test_an_admin_request_that_never_ends_is_timed_out_and_counted(sent: bytes, limit: str) -> None:
    with headgate(environment=IMPATIENT) as server:
        with connected(server.admin_port, 3, sent) as wires:
            answers = [[answer.status for answer in wire.remaining()] for wire in wires]
        assert answers == [[408] if sent == HALF_BODY else []] * 3
        told = numbers(server)
        assert told[f'refusals_total{{limit="{limit}"}}'] == 3
        wait_until(lambda: numbers(server)["connections"] == 1, "only the scraper is connected")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(
            request("GET", "/healthz", Expect="?").replace(b"?", b"\xff"),
            "100-continue",
            id="an-expect-that-is-no-utf-8",
        ),
        pytest.param(
            request("GET", "/nothing", Expect="100-maybe"), "100-continue", id="an-unknown-expect"
        ),
        pytest.param(
            request("POST", "/sign-in", b"no form", content_type="multipart/form-data; boundary=x"),
            "application/x-www-form-urlencoded",
            id="a-multipart-form",
        ),
        pytest.param(
            request("POST", "/sign-in", b"{}", content_type="application/json"),
            "urlencoded",
            id="a-form-in-json",
        ),
        pytest.param(request("GET", "/healthz", Host="a b"), "Host", id="a-malformed-host"),
        pytest.param(b"\x16\x03\x01\x02\r\n\r\n", "not valid HTTP", id="a-tls-handshake"),
        pytest.param(
            HALF_BODY.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"\r\n",
            "not valid HTTP",
            id="a-malformed-chunk",
        ),
    ],
)
def test_malformed_admin_requests_get_400_and_share_a_log_line(sent: bytes, reason: str) -> None:
    with headgate(environment=IMPATIENT) as server:
        with connected(server.admin_port, 5, sent) as wires:
            for wire in wires:
                answer = wire.answer()
                assert (answer.status, reason in answer.json()["detail"]) == (400, True), answer
        assert server.terminate() == 0
        lines = events(server, "admin.request_refused")
        assert sum(int(str(line["times"])) for line in lines) == 5
        assert len(lines) <= 2
        assert "Traceback" not in server.output()


@pytest.mark.usefixtures("processes")
def test_admin_clients_that_disconnect_mid_body_share_a_log_line() -> None:
    with headgate(environment=IMPATIENT) as server:
        with connected(server.admin_port, 5, HALF_BODY):
            wait_until(lambda: numbers(server)["connections"] == 6, "all are there")
        wait_until(lambda: numbers(server)["connections"] == 1, "all are gone")
        assert server.terminate() == 0
        lines = events(server, "admin.request_refused")
        assert sum(int(str(line["times"])) for line in lines) == 5
        assert "Traceback" not in server.output()


@pytest.mark.usefixtures("processes")
def test_a_chunked_admin_body_after_100_continue_is_accepted() -> None:
    with headgate() as server, Wire(server.admin_port) as wire:
        body = b'{"url": "/v1/stream/s"}'
        wire.send(
            b"POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nX-CSRF-Token: %b\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" % csrf_token(server)
        )
        assert wire.head().wire == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        explained = wire.answer()
        assert explained.status == 200
        assert explained.headers["connection"] == "close"
        with pytest.raises((ConnectionEnded, ConnectionError)):
            wire.answer()


def csrf_token(server: Headgate) -> bytes:
    """Return the token that scripts of the console's pages send with a change."""
    session = ask(server.admin_port, "GET", "/api/v1/session").json()
    return str(session["csrf"]).encode()


@pytest.mark.usefixtures("processes")
def test_an_admin_body_beyond_the_bound_gets_413() -> None:
    with headgate() as server:
        body = b"x" * (1024 * 1024 + 1)
        headers = {"X-CSRF-Token": csrf_token(server).decode(), "Content-Type": "application/json"}
        answer = ask(server.admin_port, "POST", "/api/v1/explain", body, **headers)
        assert answer.status == 413
        assert "1,048,576 bytes" in answer.json()["detail"]


@pytest.mark.usefixtures("processes")
def test_an_admin_client_that_reads_no_responses_is_disconnected() -> None:
    with headgate(environment=IMPATIENT) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.admin_port))
        client.sendall(request("GET", "/metrics") * 1000)
        limit = 'refusals_total{limit="body_timeout"}'
        wait_until(lambda: numbers(server)[limit] == 1, "it is cut")
