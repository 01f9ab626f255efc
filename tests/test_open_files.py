"""A low limit of open files is reported at the start, in words that help."""

from __future__ import annotations

import resource
import subprocess

import pytest

from headgate_gateway.process.serve import check_open_files
from tests.support.log_lines import capture_logs
from tests.support.processes import HEADGATE, Headgate


@pytest.mark.parametrize(
    ("limit", "is_warned"),
    [(128, True), (1023, True), (1024, False), (resource.RLIM_INFINITY, False)],
)
def test_only_an_open_file_limit_below_1024_is_logged_as_a_warning(
    limit: int, is_warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    with capture_logs() as lines:
        check_open_files()
    assert [line["event"] for line in lines] == ["server.few_open_files"] * is_warned


@pytest.mark.usefixtures("processes")
def test_a_server_with_too_few_open_files_allowed_does_not_start() -> None:
    for workers in ("1", "2"):
        command = ["prlimit", "--nofile=40", str(HEADGATE), "serve", "--workers", workers]
        ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        origin = ["--origin", "http://127.0.0.1:9"]
        done = subprocess.run(
            [*command, *ports, *origin], capture_output=True, timeout=30, check=False
        )
        assert done.returncode == 2
        said = done.stderr.decode()
        assert "the open-file limit is 40: at least 128 files are needed" in said
        assert "ulimit -n" in said
        assert said.count("\n") == 1


@pytest.mark.usefixtures("processes")
def test_a_server_with_few_files_starts_and_warns() -> None:
    gateway = Headgate(preface=["prlimit", "--nofile=200"])
    try:
        gateway.start()
        assert "server.few_open_files" in gateway.output()
        assert "LimitNOFILE" in gateway.output()
    finally:
        gateway.close()
