"""The commands of docs/installing.md that lead from nothing to HTTPS, as they are written."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.front.fronted import HERE, HOST
from tests.support.ports import free_port
from tests.support.processes import ANEW, AT_ONCE, HEADGATE, ROOT, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

HEADING = "## From nothing to HTTPS\n"
PAGE = (ROOT / "docs/installing.md").read_text()
# The installation is that of this environment; nobody is there to type a password.
INSTALLING = ("python3", "/opt/headgate/bin/pip", "export PATH")
TYPED = "headgate config hash-password"
SERVE = "headgate serve --config headgate.toml\n"


def block(kind: str) -> str:
    """Return the block of a kind below the heading."""
    return PAGE.partition(HEADING)[2].partition(f"```{kind}\n")[2].partition("```")[0]


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_the_commands_from_nothing_to_https_serve_what_they_say(tmp_path: Path) -> None:
    script, ended, rest = block("sh").partition(SERVE)
    assert (ended, rest) == (SERVE, "")
    lines = [line for line in script.splitlines(True) if not line.startswith(INSTALLING)]
    front, plain, admin = free_port(), free_port(), free_port()
    making = "".join(lines).replace(TYPED, f"echo a long password | {TYPED}")
    making = making.replace("127.0.0.1:8443", f"{HERE}:{front}")
    (tmp_path / ".curlrc").write_text(f"resolve = {HOST}:{front}:{HERE}\n")
    path = f"{HEADGATE.parent}:{os.environ['PATH']}"
    environment = {
        **os.environ,
        **AT_ONCE,
        "PATH": path,
        "CURL_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "HEADGATE_LIMITS__MAX_LOOP_LAG": "0",  # the machine may be busy
    }

    def bash(commands: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            ("bash", "-e", "-c", commands),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "/v1/news" in bash(making)
    made = tmp_path / "streams"
    listeners = "--listen", f"127.0.0.1:{plain}", "--admin", f"127.0.0.1:{admin}"
    server = start(
        (*ANEW, HEADGATE, *SERVE.split()[1:], *listeners),
        environment=environment,
        folder=made,
    )
    try:
        wait_until(lambda: is_ready(f"http://127.0.0.1:{admin}"), "it is ready")
        typed, _, expected = block("console").rpartition("\n$ ")[2].partition("\n")
        before = block("console").rpartition("\n$ ")[0].replace("$ ", "", 1).replace("\n$ ", "\n")
        asked = f"{before}\n{typed}".replace("8443", str(front))
        assert bash(asked, made) == expected.strip()
    finally:
        server.terminate()
        server.wait(30)
