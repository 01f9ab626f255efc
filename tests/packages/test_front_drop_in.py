"""The drop-in with which the systemd unit runs a front: at ports below 1024, without root."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.front.acme import serial_number
from tests.front.test_front import is_running
from tests.packages.test_systemd_unit import DROP_IN, SERVICE_USER, reach, setting
from tests.support.ports import free_port
from tests.support.processes import ANEW, HEADGATE
from tests.support.waiting import wait_until


@pytest.mark.usefixtures("processes")
def test_the_command_of_the_unit_serves_at_port_443_as_another_user_and_leaves_no_caddy(
    tmp_path: Path,
) -> None:
    """The test does what systemd does before: user, umask, capabilities, data folder."""
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in DROP_IN
    state, copied = tmp_path / "state", tmp_path / "headgate.toml"
    address = "127.{}.{}.{}".format(*(secrets.choice(range(1, 255)) for _ in range(3)))
    copied.write_text(
        f'listen = "127.0.0.1:{free_port()}"\nadmin = "127.0.0.1:{free_port()}"\n'
        f'storage = "file:{state}/streams"\n'
        f'[front]\nhosts = ["localhost"]\nlisten = "{address}:443"\ndata = "{state}/front"\n'
    )
    state.mkdir(mode=int(setting("StateDirectoryMode"), 8))
    for path in (state, copied):
        os.chown(path, SERVICE_USER, SERVICE_USER)
    reach(tmp_path)
    line = setting("ExecStart").replace("/opt/headgate/bin/headgate", str(HEADGATE))
    # It may also read what only root may: the tests may lie in its folder.
    capabilities = "=-all,+net_bind_service,+dac_read_search"
    process = subprocess.Popen(
        [
            *ANEW,
            *("setpriv", f"--reuid={SERVICE_USER}", f"--regid={SERVICE_USER}", "--clear-groups"),
            *("--no-new-privs", f"--inh-caps{capabilities}", f"--ambient-caps{capabilities}"),
            f"--bounding-set{capabilities}",
            *shlex.split(line.replace("/etc/headgate", str(tmp_path))),
        ],
        umask=int(setting("UMask"), 8),
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )
    root = state / "front/data/pki/authorities/local/root.crt"
    try:
        wait_until(root.exists, "Caddy has an authority")
        wait_until(lambda: serial_number("localhost", 443, root, address) is not None, "it serves")
        children = children_of(process.pid)
        assert {path.stat().st_uid for path in state.rglob("*")} == {SERVICE_USER}
        process.kill()
        wait_until(lambda: not any(map(is_running, children)), "Caddy has ended")
        assert len(children) == 1
    finally:
        process.kill()
        process.wait()


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
