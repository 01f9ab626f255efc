"""`headgate doctor health`, against a real server and against what is none."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli as command
from headgate_gateway.commands.doctor import health
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands.conftest import CommandLine
    from tests.support.processes import Headgate

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"status": "ok"}'


@contextlib.contextmanager
def answering(data: bytes | None, host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a listener that gives one connection this answer; None is silence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    over = threading.Event()
    with socket.create_server((host, 0), family=family) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # nobody has asked
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    if data is None:
                        over.wait()
                    else:
                        connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def check(admin: str) -> tuple[int, str]:
    """The exit status and everything that is said, without a process of its own."""
    environment = {"HEADGATE_ADMIN": admin, "XDG_RUNTIME_DIR": "/dev/null"}
    result = CliRunner().invoke(command, ["doctor", "health"], env=environment)
    return result.exit_code, result.output


@pytest.mark.usefixtures("processes")
def test_health_of_a_serving_server_exits_with_0(server: Headgate, cli: CommandLine) -> None:
    done = cli("doctor", "health", environment={"HEADGATE_ADMIN": f"127.0.0.1:{server.admin_port}"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", "localhost"), ("::1", "[::1]")])
def test_health_asks_the_admin_listener_by_any_loopback_address(host: str, asked: str) -> None:
    with answering(OK, host) as port:
        assert check(f"{asked}:{port}") == (0, "")


def test_health_without_a_server_exits_with_1() -> None:
    admin = f"127.0.0.1:{free_port()}"
    assert check(admin) == (1, f"headgate: http://{admin} cannot be reached: Connection refused.\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            "answers 503",
            id="a-503",
        ),
        pytest.param(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            "answers 400, as a listener with TLS answers plain HTTP: give its settings by --config",
            id="a-400",
        ),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            "answers 302",
            id="a-redirect",
        ),
        pytest.param(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "answers, and is no admin listener of this version: 404",
            id="a-404",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n",
            "answers, and is no admin listener of this version",
            id="the-listener-of-streams",
        ),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer in HTTP", id="another-protocol"),
        (b"", "does not answer in HTTP"),
    ],
)
def test_health_exits_with_1_on_any_response_but_that_of_an_admin_listener(
    answer: bytes, why: str
) -> None:
    with answering(answer) as port:
        status, said = check(f"127.0.0.1:{port}")
        assert (status, said) == (1, f"headgate: http://127.0.0.1:{port} {why}.\n")


def test_health_of_a_hanging_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.05)
    with answering(None) as port:
        status, said = check(f"127.0.0.1:{port}")
        assert status == 1
        assert said == f"headgate: http://127.0.0.1:{port} does not answer within 0.05 s.\n"


def test_health_of_port_0_exits_with_2() -> None:
    assert check("127.0.0.1:0")[0] == 2
