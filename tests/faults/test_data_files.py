"""Data files that Headgate cannot or must not use: it says so once, and leaves them alone."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.processes import Headgate, headgate, run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

DATA_FILE = "headgate.db"


def _random_bytes(file: Path) -> None:
    file.write_bytes(random.Random(5).randbytes(10_000))


def _short_file(file: Path) -> None:
    file.write_bytes(b"SQLite")


def _empty_file(file: Path) -> None:
    file.write_bytes(b"")


def _other_application(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.executescript("create table notes (text); insert into notes values ('mine');")
    connection.close()


def _newer_version(file: Path) -> None:
    with headgate(f"file:{file.parent}") as server:
        server.terminate()
    connection = sqlite3.connect(file)
    (version,) = connection.execute("pragma user_version").fetchone()
    connection.execute(f"pragma user_version={version + 1}")
    connection.close()


def _folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.smoke
@pytest.mark.parametrize(
    "write", [_random_bytes, _short_file, _empty_file, _other_application, _newer_version, _folder]
)
def test_a_foreign_data_file_is_refused_and_not_changed(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    file = tmp_path / DATA_FILE
    write(file)
    before = _state(tmp_path)
    refused = _start(tmp_path)
    assert _state(tmp_path) == before
    assert refused.returncode == 2
    _assert_one_sentence(refused.stderr, str(tmp_path))


def test_a_data_folder_in_use_is_refused_and_its_server_continues(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        # The server itself notes its clocks within a second, and then not for a minute.
        wait_until(lambda: b"clock_wall" in (tmp_path / f"{DATA_FILE}-wal").read_bytes())
        before = _state(tmp_path)
        refused = _start(tmp_path)
        assert refused.returncode == 2
        _assert_one_sentence(refused.stderr, str(tmp_path))
        assert _state(tmp_path) == before
        assert server.terminate() == 0
    with headgate(f"file:{tmp_path}"):
        pass


BACKUP = """
import sqlite3, sys
data, copy = map(sqlite3.connect, sys.argv[1:])
data.backup(copy)
copy.close()
data.close()
"""


def test_a_backup_by_another_program_does_not_remove_the_wal_of_a_running_server(
    tmp_path: Path,
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    copy.mkdir()
    with headgate(f"file:{data}") as server:  # an existing data file is looked at first
        server.terminate()
    with headgate(f"file:{data}") as server:
        stream = f"{server.url}/v1/stream/a"
        text = {"Content-Type": "text/plain"}
        assert httpx.put(stream, headers=text, verify=False).status_code == 201
        assert httpx.post(stream, headers=text, verify=False, content=b"kept").status_code == 204
        subprocess.run(
            [sys.executable, "-c", BACKUP, data / DATA_FILE, copy / DATA_FILE], check=True
        )
        assert (data / f"{DATA_FILE}-wal").exists()
        assert httpx.post(stream, headers=text, verify=False, content=b" on").status_code == 204
        assert httpx.get(f"{stream}?offset=-1", verify=False).text == "kept on"
    with headgate(f"file:{copy}") as server:
        assert httpx.get(f"{server.url}/v1/stream/a?offset=-1", verify=False).text == "kept"


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    refused = _start(tmp_path / "data")
    assert refused.returncode == 2
    _assert_one_sentence(refused.stderr, "data")


def _start(folder: Path) -> subprocess.CompletedProcess[bytes]:
    server = Headgate(f"file:{folder}")
    return run(server.arguments, environment=server.environment, timeout_s=30)


def _assert_one_sentence(said: bytes, subject: str) -> None:
    stderr = said.decode()
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert subject in lines[0]
    assert "Traceback" not in stderr


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every data file with its time of change and its bytes; locks and shared memory are none."""
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.iterdir()
        if not path.name.endswith((".lock", "-shm"))
    }
