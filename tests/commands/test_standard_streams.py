"""Commands whose stdin, stdout or stderr is closed or takes nothing, and no temporary folder."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import AT_ONCE, HEADGATE
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.usefixtures("processes")

REDIRECTIONS = {
    "stdin closed": "0<&-",
    "stdout closed": "1>&-",
    "stderr closed": "2>&-",
    "all closed": "0<&- 1>&- 2>&-",
    "a full stdout": "1>/dev/full",
    "a full stderr": "2>/dev/full",
    "a stderr that nobody reads": "2>&$NOBODY",
}
DEADLINE_S = 60


@pytest.fixture
def nobody() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


class Serving:
    """A `headgate serve` that a shell starts with redirections."""

    def __init__(self, redirection: str, nobody: int, *arguments: str) -> None:
        self.port, self.admin = free_port(), free_port()
        addresses = f"--listen 127.0.0.1:{self.port} --admin 127.0.0.1:{self.admin}"
        command = f"exec {HEADGATE} serve {addresses} {' '.join(arguments)} {redirection}"
        self.process = shell(command, nobody)

    def __enter__(self) -> Serving:
        wait_until(self._is_ready, "it serves")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        assert self.process.wait(DEADLINE_S) == 0

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.process.returncode
        return ask(self.admin, "GET", "/readyz").status == 200

    def works(self) -> bool:
        """Return whether what is written is read, with all that is refused meanwhile."""
        url = "/v1/stream/s"
        written = ask(self.port, "PUT", url, b"one", Content_Type="text/plain").status
        refused = ask(self.port, "GET", "/nothing").status  # a line of the log
        return (written, refused, ask(self.port, "GET", url).body) == (201, 404, b"one")

    @property
    def outputs(self) -> list[str]:
        """What stdout and stderr are, of the server and of its workers."""
        pids = [self.process.pid, *map(int, _children(self.process.pid))]
        places = (Path(f"/proc/{pid}/fd/{number}") for pid in pids for number in (1, 2))
        return [str(it.readlink()) for it in places]


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def shell(
    command: str, nobody: int, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command by a shell."""
    return subprocess.Popen(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(nobody,),
        env={**os.environ, **AT_ONCE, "NOBODY": str(nobody), **(environment or {})},
    )


@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS)
def test_a_server_serves_whatever_its_standard_streams_are(redirection: str, nobody: int) -> None:
    with Serving(redirection, nobody, "--storage memory:") as server:
        assert server.works()
        assert not any(it.startswith("socket:") for it in server.outputs), server.outputs


@pytest.mark.parametrize("redirection", ["2>&-", "0<&- 1>&- 2>&-", "2>/dev/full", "2>&$NOBODY"])
def test_workers_serve_whatever_their_standard_streams_are(
    redirection: str, nobody: int, tmp_path: Path
) -> None:
    with (
        redis_server(tmp_path) as redis,
        Serving(redirection, nobody, f"--storage {redis.url} --workers 2") as server,
    ):
        assert server.works()
        assert not any(it.startswith("socket:") for it in server.outputs), server.outputs


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2>&$NOBODY"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("serve --workers none", 2),
        ("no-command", 2),
        ("cdn render nginx", 2),
        ("doctor health --admin http://127.0.0.1:1", 1),
        ("config init /nowhere/headgate.toml", 1),
        ("status --admin http://127.0.0.1:1", 69),
        ("config check", 0),
    ],
    ids=lambda it: it.split(" -")[0] if isinstance(it, str) else str(it),
)
def test_the_status_of_a_command_does_not_depend_on_its_stderr(
    arguments: str, status: int, redirection: str, nobody: int
) -> None:
    process = shell(f"exec {HEADGATE} {arguments} {redirection}", nobody)
    assert process.wait(DEADLINE_S) == status


@pytest.mark.parametrize("command", ["token hash", "config hash-password"])
def test_a_command_that_reads_a_secret_says_that_stdin_is_closed(command: str) -> None:
    done = ended(f"exec {HEADGATE} {command} <&-")
    assert (done.returncode, b"stdin is closed" in done.stderr) == (2, True), done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["token hash", "config hash-password"])
def test_a_byte_order_mark_is_no_part_of_a_secret_on_stdin(command: str) -> None:
    done = ended(f"exec {HEADGATE} {command}", "\ufeffcorrect-horse-battery-staple\r\n".encode())
    plain = ended(f"exec {HEADGATE} {command}", b"correct-horse-battery-staple\n")
    assert (done.returncode, plain.returncode) == (0, 0), done.stderr
    assert command != "token hash" or done.stdout == plain.stdout


def ended(command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Return what a command of a shell has said at its end."""
    return subprocess.run(
        ["bash", "-c", command],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
        env={**os.environ, **AT_ONCE},
    )


# ---------------------------------------------------------------- no temporary folder

# No file can have a byte, so that no folder is one for temporary files.
NO_FILES = "ulimit -f 0; unset XDG_RUNTIME_DIR; exec"


def test_a_server_without_a_temporary_folder_says_so_and_serves(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    addresses = f"--listen 127.0.0.1:{port} --admin 127.0.0.1:{admin}"
    process = subprocess.Popen(
        ["bash", "-c", f"{NO_FILES} {HEADGATE} serve --storage memory: {addresses}"],
        stderr=subprocess.PIPE,
        env={**os.environ, **AT_ONCE},
        cwd=tmp_path,
    )
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline() for _ in range(2)]
        assert sum(b'"event": "server.not_announced"' in it for it in lines) == 1, lines
        assert b"set TMPDIR" in lines[0]
        assert ask(port, "PUT", "/v1/stream/s", Content_Type="text/plain").status == 201
        delete = f"delete --prefix s --yes --admin http://127.0.0.1:{admin}"
        done = ended(f"STREAM_URL=http://127.0.0.1:{port}/v1/stream {HEADGATE} {delete}")
        assert (done.returncode, b"set TMPDIR of the server" in done.stderr) == (69, True), done
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("command", "status", "sentence"),
    [
        ("ls --admin http://127.0.0.1:1", 69, b"127.0.0.1:1"),
        ("status --admin http://127.0.0.1:1", 69, b"cannot connect"),
        ("delete --prefix a/ --yes --admin http://127.0.0.1:1", 69, b"cannot connect"),
    ],
)
def test_a_command_without_a_temporary_folder_says_one_sentence(
    command: str, status: int, sentence: bytes, tmp_path: Path
) -> None:
    assert Path(tempfile.gettempdir()).is_dir()
    done = ended(f"cd {tmp_path}; {NO_FILES} {HEADGATE} {command}")
    assert (done.returncode, done.stderr.count(b"\n")) == (status, 1), done.stderr
    assert sentence in done.stderr
