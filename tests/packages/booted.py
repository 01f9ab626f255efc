"""A root folder that systemd has booted, in namespaces of its own: no container engine is needed.

It has its own processes, mounts, network and control groups, and ends with the block.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where version 2 of control groups is: beside version 1, or alone.
GROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
BOOT = """
echo $$ > "$GROUP/cgroup.procs"
exec unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup sh -euc '
    mount --bind "$ROOT" "$ROOT"
    cd "$ROOT"
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs tmpfs tmp
    mkdir -p dev/shm
    mount -t tmpfs tmpfs dev/shm
    hostname booted
    pivot_root . root
    umount -l /root
    mount --make-rshared / # as a machine has it: credentials reach a service by that
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
'
"""
BOOT_TIMEOUT_S = 60.0
DONE = ("running", "degraded")  # degraded: a unit has failed that a root folder has no use for


class Booted:
    """The machine whose process 1 is `pid` here."""

    def __init__(self, pid: int) -> None:
        self._inside = (
            *("nsenter", "--target", str(pid), "--all", "--root", "--wd"),
            *("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"),
            *("DEBIAN_FRONTEND=noninteractive", "sh", "-euc"),
        )

    def run(self, script: str) -> str:
        """Run a shell script in the machine; return what it wrote. Raises AssertionError."""
        status, written = self._run(script)
        assert status == 0, f"{script} failed:\n{written}"
        return written

    def is_up(self) -> bool:
        """Return whether everything that is enabled has been started."""
        return self._run("systemctl is-system-running")[1].strip() in DONE

    def show(self, name: str) -> str:
        """Return a property of the service."""
        return self.run(f"systemctl show headgate --property={name} --value").strip()

    def _run(self, script: str) -> tuple[int, str]:
        done = subprocess.run(
            [*self._inside, script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@contextlib.contextmanager
def booted(root: Path) -> Iterator[Booted]:
    """Boot a root folder that has systemd, and end everything in it after the block."""
    groups = next(path for path in GROUPS if (path / "cgroup.procs").exists())
    group = groups / f"headgate-{os.getpid()}"
    group.mkdir()
    environment = {**os.environ, "ROOT": str(root), "GROUP": str(group)}
    process = subprocess.Popen(
        ["sh", "-euc", BOOT],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: bool(children.read_text().split()), "process 1 runs")
        (first,) = children.read_text().split()
        machine = Booted(int(first))
        wait_until(machine.is_up, "systemd has started all", within_s=BOOT_TIMEOUT_S)
        yield machine
    finally:
        process.kill()  # process 1 is killed with it, and everything in the machine with that
        process.wait()
        wait_until(lambda: _is_removed(group), "the control groups are empty")


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        for path in sorted(group.rglob("*/"), reverse=True):
            path.rmdir()
        group.rmdir()
    return not group.exists()


WATCHDOG = "/run/systemd/system/headgate.service.d/watchdog.conf"
ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).status)"
HEALTH = "http://127.0.0.1:4437/healthz"
STREAM = "http://127.0.0.1:4437/v1/stream/none"
MOST_EXPOSED = 2.0  # of 10


def try_service(machine: Booted, newer: str) -> Iterator[str]:
    """Try the installed service, upgrade it to the package `newer`, and purge it."""

    def status_of(url: str) -> str:
        return machine.run(f"/opt/headgate/bin/python -c '{ASK}' {url} 2>&1 || true")

    assert (machine.show("Type"), machine.show("StatusText")) == ("notify", "Serving")
    told = machine.run("systemd-analyze security headgate --no-pager | tail -1")
    exposure = float(told.split("headgate.service:")[1].split()[0])
    assert exposure <= MOST_EXPOSED, told
    assert status_of(HEALTH).strip() == "200"
    yield f"started by systemd within its sandbox, with an exposure of {exposure} of 10"
    machine.run(
        "echo 'limits.max_append = none' >> /etc/headgate/headgate.toml; systemctl reload headgate"
    )
    wait_until(lambda: "refused" in machine.show("StatusText"), "the status tells of the refusal")
    machine.run("sed -i '/^limits/d' /etc/headgate/headgate.toml; systemctl reload headgate")
    wait_until(lambda: machine.show("StatusText") == "Serving", "the reload is over")
    yield "reloaded, and the status told of a reload that was refused"
    machine.run(
        "install -d -m 0700 /etc/credstore; echo > /etc/credstore/headgate.tokens;"
        "chmod 600 /etc/credstore/headgate.tokens;"
        """sed -i '/^# auth/s/, "read-tokens"//; s/^# \\(auth\\|.cred\\|tokens_file\\)/\\1/' """
        "/etc/headgate/headgate.toml; systemctl restart headgate"
    )
    assert "401" in status_of(STREAM)
    yield "given a file of tokens that only root can read, by LoadCredential"
    machine.run(
        f"mkdir -p $(dirname {WATCHDOG}); printf '[Service]\\nWatchdogSec=2\\n' > {WATCHDOG};"
        "systemctl daemon-reload; systemctl restart headgate;"
        "kill -STOP $(systemctl show headgate --property=MainPID --value)"
    )
    wait_until(lambda: machine.show("NRestarts") == "1", "the watchdog restarts it")
    wait_until(lambda: machine.show("ActiveState") == "active", "it serves again")
    assert "Fatal Python error: Aborted" in machine.run("journalctl -u headgate --no-pager")
    yield "restarted by the watchdog, with its stack in the journal"
    before = machine.show("MainPID")
    machine.run(f"dpkg -i {newer}")
    assert machine.show("ActiveState") == "active"
    assert machine.show("MainPID") != before
    machine.run("dpkg --purge headgate")
    assert machine.show("ActiveState") == "inactive"
    yield "restarted by the upgrade, and stopped by the purge"
