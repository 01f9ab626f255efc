"""The package for Debian in a root folder of its release: install, start, upgrade, remove, purge.

The service is started by the line of its unit, as its user, as systemd starts it. What systemd does
beside that, such as its limits on the service, is tried in `tests.packages.booted`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.release import debs
from scripts.version import debian
from tests.support.http1 import ask
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = "etc/headgate/headgate.toml"
UNIT = "usr/lib/systemd/system/headgate.service"
START_TIMEOUT_S = 60.0
NEXT = "99.0.0"  # a version that is higher than any
STREAM = "/v1/stream/kept"
DELETE_STREAMS = "headgate headgate/delete-streams boolean true"
NOBODY = 65534  # a user that is not the service's


class Trial:
    """A root folder in which packages are tried, with the ports of its service."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port, self.admin = free_port(), free_port()

    def run(self, *command: str) -> str:
        """Run a command in the root folder, and return what it wrote. Raises AssertionError."""
        done = subprocess.run(
            debs.inside(self.root, *command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}"
        return done.stdout

    def install(self, package: Path) -> None:
        """Install a package, or upgrade to it, by apt, with what it depends on."""
        shutil.copy(package, self.root / "root")
        self.run("apt-get", "install", "-qq", "-y", f"/root/{package.name}")

    def user(self) -> tuple[int, int] | None:
        """Return the ids of the service's user and group, or None without one."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, user, group, *_ = line.split(":")
            if name == "headgate":
                return int(user), int(group)
        return None

    def use_own_ports(self) -> None:
        """Change the settings to ports that are free here, as an administrator would."""
        path = self.root / SETTINGS
        text = path.read_text().replace(":4437", f":{self.port}").replace(":4439", f":{self.admin}")
        path.write_text(text)

    def setting(self, name: str) -> str:
        """Return a setting that the unit has once."""
        (value,) = re.findall(rf"^{name}=(.*)$", (self.root / UNIT).read_text(), re.MULTILINE)
        return str(value)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Run the unit's command until the end of the block, and see it end as asked."""
        user = self.user()
        assert user is not None
        state = self.root / "var/lib" / self.setting("StateDirectory")
        state.mkdir(mode=int(self.setting("StateDirectoryMode"), 8), exist_ok=True)
        shutil.chown(state, *user)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"\0headgate-trial-{self.port}")
            manager.settimeout(START_TIMEOUT_S)
            environment = {
                "PATH": debs.INSIDE["PATH"],
                "NOTIFY_SOCKET": f"@headgate-trial-{self.port}",
            }
            as_user = ("setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups")
            command = (*as_user, "--no-new-privs", *shlex.split(self.setting("ExecStart")))
            process = subprocess.Popen(
                debs.inside(self.root, *command, environment=environment),
                umask=int(self.setting("UMask"), 8),
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                assert manager.recv(1000).startswith(b"READY=1"), (
                    "the first message is of the start"
                )
                yield
                os.kill(_child(process.pid), signal.SIGTERM)
                _, log = process.communicate(timeout=30)
                assert process.returncode == 0, log
                assert manager.recv(1000).startswith(b"STOPPING=1")
            finally:
                process.kill()
                process.wait()


def _child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def try_package(root: Path, package: Path, newer: Path) -> Iterator[str]:
    """Install, start, upgrade, remove and purge; yield what was seen. Raises AssertionError."""
    trial = Trial(root)
    trial.install(package)
    yield _installed(trial)
    version = trial.run("headgate", "--version").split()[1]
    told = trial.run("dpkg-query", "--show", "--showformat=${Version}", "headgate")
    assert told == package.name.split("_")[1]
    assert told.startswith(f"{debian(version)}-")
    trial.use_own_ports()
    with trial.serving():
        made = ask(trial.port, "PUT", STREAM, b"one", content_type="text/plain")
        assert made.status == 201, made
        assert ask(trial.admin, "GET", "/readyz").status == 200
        assert f'version="{version}"'.encode() in ask(trial.admin, "GET", "/metrics").body
    yield f"{told} is {version} in `headgate --version` and in its metrics"
    yield "started by its ExecStart line as its user: told that it serves, took an append, drained"
    trial.install(newer)
    assert NEXT in trial.run("headgate", "--version")
    assert f":{trial.port}" in (root / SETTINGS).read_text(), "changed settings stay"
    with trial.serving():
        assert ask(trial.port, "GET", f"{STREAM}?offset=-1").body == b"one"
    yield f"upgraded to {NEXT}: settings stayed, and the stream is read"
    trial.run("apt-get", "remove", "-qq", "-y", "headgate")
    assert not (root / "opt/headgate").exists()
    assert not os.path.lexists(root / "usr/bin/headgate")
    assert (root / SETTINGS).exists()
    assert (root / "var/lib/headgate/streams/headgate.db").exists()
    yield "removed: settings and streams stayed"
    trial.run("apt-get", "purge", "-qq", "-y", "headgate")
    assert not (root / SETTINGS).exists()
    assert (root / "var/lib/headgate/streams/headgate.db").exists()
    assert trial.user() is not None
    yield "purged without an answer: settings are deleted, streams and their user stayed"
    trial.install(newer)
    trial.use_own_ports()
    with trial.serving():
        assert ask(trial.port, "GET", f"{STREAM}?offset=-1").body == b"one"
    yield "installed again: the stream is read"
    trial.run("sh", "-c", f"echo {DELETE_STREAMS} | debconf-set-selections")
    trial.run("apt-get", "purge", "-qq", "-y", "headgate")
    left = [path for path in ("etc/headgate", "var/lib/headgate", UNIT) if (root / path).exists()]
    assert left == []
    assert trial.user() is None
    assert not list((root / "etc/systemd/system").rglob("headgate*"))
    yield "purged with the answer to delete streams: nothing is left, not even the user"


def _installed(trial: Trial) -> str:
    user = trial.user()
    assert user is not None
    folder, settings = (trial.root / SETTINGS).parent.stat(), (trial.root / SETTINGS).stat()
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid, folder.st_gid) == (0o750, 0, user[1])
    assert (stat.S_IMODE(settings.st_mode), settings.st_uid, settings.st_gid) == (0o640, 0, user[1])
    others = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    trial.run(*others, "sh", "-c", f"! cat /{SETTINGS}")
    mine = ("setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups")
    trial.run(*mine, "headgate", "config", "check", "--config", f"/{SETTINGS}")
    trial.run("headgate", "doctor", "cdn", "--help")  # of the extra
    # By the OpenSSL of a wheel: that of Debian 12 is older than 3.2, and has no Argon2.
    trial.run("sh", "-c", "echo a long password | headgate config hash-password | grep -q argon2id")
    trial.run("test", "-L", "/etc/systemd/system/multi-user.target.wants/headgate.service")
    pages = sorted((trial.root / "usr/share/man/man1").glob("headgate*.1.gz"))
    assert len(pages) > 20, pages
    version = trial.run("headgate", "--version").strip()
    return f"installed ({version}), {len(pages)} man pages, settings are the service's alone"
