from __future__ import annotations

import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.debug_bundle import LAST_BYTES, BundleParts, last_log
from tests.commands.conftest import CommandLine
from tests.support.given_settings import variables
from tests.support.http1 import ask
from tests.support.processes import ANEW, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

ADMIN_TOKEN = "admin-token-of-32-characters-0001"
SECRETS = (
    "of-stream-data-7f3a",
    "of-a-client-4be1",
    "of-a-query-93cc",
    "of-an-origin-11d0",
    "of-a-log-line-5522",
    ADMIN_TOKEN,
)


def unpacked(file: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(file) as archive:
        for entry in archive:
            opened = archive.extractfile(entry)
            assert opened is not None
            found[entry.name.removeprefix("headgate-debug/")] = opened.read()
    return found


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_a_bundle_of_a_server_on_this_machine_has_all_parts_and_no_planted_secret(
    tmp_path: Path,
) -> None:
    data, client, query, origin, logged, token = SECRETS
    digest = CommandLine("").output("token", "hash", stdin=token.encode()).decode().strip()
    environment = {
        "XDG_RUNTIME_DIR": str(tmp_path),
        **variables({"admin_tokens": [{"name": "o", "token": digest, "role": "viewer"}]}),
    }
    server = headgate(environment=environment)
    with server as running:
        wait_until((tmp_path / "headgate" / f"127.0.0.1:{running.port}.json").exists, "it is found")
        typed = {"Content-Type": "text/plain", "Authorization": f"Bearer {client}"}
        assert ask(running.port, "PUT", "/v1/stream/s", data.encode(), **typed).status == 201
        assert ask(running.port, "GET", f"/v1/stream/s?token={query}").status == 200
        with running.log_file.open("a") as log:
            log.write(f"of another program: Authorization: Bearer {logged}\n")
            log.write(f"and http://me:{origin}@host/ and {token}\n")
        cli = CommandLine("")
        cli.environment |= {"XDG_RUNTIME_DIR": str(tmp_path), "STREAM_ADMIN_TOKEN": token}
        file = tmp_path / "bundle.tar.gz"
        done = cli("doctor", "debug", str(file))
        assert (done.returncode, done.stdout) == (0, b"")
        wrote = f"Wrote {file}; look through it before you pass it on.\n"
        assert done.stderr.decode() == f"Measuring for 10 s.\n{wrote}"
        again = cli("doctor", "debug", str(file))
    assert again.returncode == 1
    assert b"is there already: name another file" in again.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    parts = unpacked(file)
    assert set(parts) == {
        *("manifest.json", "versions.json", "configuration.json", "overview.json", "routes.json"),
        *("metrics-1.txt", "metrics-2.txt", "log.txt"),
        *("process/limits.txt", "process/status.txt", "process/descriptors.json"),
        *("process/threads-1.json", "process/threads-2.json"),
    }
    assert json.loads(parts["manifest.json"])["missing"] == {}
    assert b"Max open files" in parts["process/limits.txt"]
    assert json.loads(parts["process/descriptors.json"])["socket"] >= 2
    assert parts["metrics-1.txt"] != parts["metrics-2.txt"]
    assert b"server.started" in parts["log.txt"]
    for name, part in parts.items():
        for secret in SECRETS:
            assert secret.encode() not in part, (name, secret)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_a_bundle_of_a_server_elsewhere_says_what_is_missing(tmp_path: Path) -> None:
    with headgate() as server:
        cli = CommandLine(server.streams)
        file = tmp_path / "bundle.tar.gz"
        done = cli("doctor", "debug", str(file), "--admin", server.admin_url)
        assert done.returncode == 0
        assert b", without process;" in done.stderr
    parts = unpacked(file)
    missing = json.loads(parts["manifest.json"])["missing"]
    assert missing == {"process": "the server does not run here, or for another user"}
    assert "metrics-2.txt" in parts


@pytest.mark.usefixtures("processes")
def test_a_bundle_without_a_server_is_a_failure(tmp_path: Path) -> None:
    cli = CommandLine("http://127.0.0.1:9/s")
    done = cli("doctor", "debug", str(tmp_path / "x"), "--admin", "http://127.0.0.1:9")
    assert done.returncode == 69
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        (b"Authorization: Bearer abc.def-1", b"Authorization: Bearer ***"),
        (b'"basic dXNlcjpwYXNz"', b'"basic ***"'),
        (b"redis://user:p4ss@host/0", b"redis://***@host/0"),
        (b"redis://:p4ss@host/0", b"redis://***@host/0"),
        (b"GET /s?offset=-1&token=abcdef&live=sse", b"GET /s?offset=-1&token=***&live=sse"),
        (b"GET /s?rk=0123456789", b"GET /s?rk=***"),
        (b"http://127.0.0.1:4437/v1/stream", b"http://127.0.0.1:4437/v1/stream"),
        (b"known-secret", b"***"),
    ],
)
def test_what_looks_like_a_credential_is_masked(line: bytes, masked: bytes) -> None:
    parts = BundleParts(("known-secret",))
    parts.add("log.txt", line)
    assert parts.files["log.txt"] == masked


@pytest.mark.usefixtures("processes")
def test_the_last_lines_of_a_long_log_are_whole_and_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = b"".join(b"%07d\n" % number for number in range(LAST_BYTES // 8 + 100))
    log.write_bytes(lines)
    with log.open("ab") as stderr:
        process = subprocess.Popen([*ANEW, "cat"], stdin=subprocess.PIPE, stderr=stderr)
        try:
            kept = last_log(process.pid)
        finally:
            process.communicate()
    assert lines.endswith(kept)
    assert LAST_BYTES - 8 <= len(kept) <= LAST_BYTES
    assert kept[:7].isdigit()
