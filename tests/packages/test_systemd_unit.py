"""The systemd unit: how it is hardened, and that its command serves."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.workers.worker_slot import MOST_MISSED
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import HEADGATE
from tests.support.waiting import wait_until
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MOST_EXPOSED = 2.0  # of 10, as systemd-analyze reckons it
SERVICE_USER = 65534  # one that owns nothing, as the user that systemd makes up
UNIT_FILE = ROOT / "packages/systemd/headgate.service"
UNIT = UNIT_FILE.read_text()
(DROP_IN,) = re.findall(
    r"```ini\n(\[Service\]\n.*?)```", (ROOT / "docs/front.md").read_text(), re.DOTALL
)


def setting(name: str) -> str:
    """Return the value of a setting that the unit has once."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(value)


def analyzed(word: str, *options: str, unit: Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", word, *options, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("drop_in", ["", DROP_IN], ids=["alone", "with-a-front"])
def test_systemd_analyze_finds_no_mistake_in_the_unit_and_a_low_exposure(
    drop_in: str, tmp_path: Path
) -> None:
    unit = tmp_path / UNIT_FILE.name
    unit.write_text(UNIT.replace("/opt/headgate/bin/headgate", str(HEADGATE)))
    if drop_in:
        (tmp_path / f"{unit.name}.d").mkdir()
        (tmp_path / f"{unit.name}.d/override.conf").write_text(drop_in)
    said = analyzed("verify", "--man=no", unit=unit).stderr
    assert [line for line in said.splitlines() if unit.name in line] == []
    unit.write_text(f"{UNIT}\n{drop_in}")  # a later line of a unit counts, as one of a drop-in
    told = analyzed("security", "--offline=true", "--no-pager", unit=unit).stdout
    (exposed,) = re.findall(r"Overall exposure level for headgate.service: ([\d.]+)", told)
    assert float(exposed) <= MOST_EXPOSED, told


def test_the_unit_waits_for_the_notification_that_the_service_is_ready() -> None:
    assert setting("Type") == "notify"
    assert int(setting("WatchdogSec")) >= 2 * MOST_MISSED  # a supervisor replaces workers before


def test_the_unit_restarts_the_service_except_after_status_2() -> None:
    assert setting("Restart") == "always"
    assert setting("RestartPreventExitStatus") == "2"


@pytest.mark.usefixtures("processes")
def test_the_command_of_the_unit_serves_as_its_user_with_its_own_folder(
    tmp_path: Path,
) -> None:
    """The test does what systemd does before: user, umask, data folder, configuration."""
    is_root = os.geteuid() == 0
    user = SERVICE_USER if is_root else os.geteuid()
    port, admin = free_port(), free_port()
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    credentials.mkdir()
    copied = credentials / "headgate.toml"
    copied.write_text(
        f'listen = "127.0.0.1:{port}"\nadmin = "127.0.0.1:{admin}"\n'
        f'[[routes]]\nprefix = "/v1/stream"\nstorage = "file:{state}/streams"\n'
    )
    copied.chmod(0o400)
    state.mkdir(mode=int(setting("StateDirectoryMode"), 8))
    if is_root:
        for path in (state, credentials, copied):
            os.chown(path, user, user)
        reach(tmp_path)
    line = setting("ExecStart").replace("/opt/headgate/bin/headgate", str(HEADGATE))
    command = shlex.split(line.replace("/etc/headgate", str(credentials)))
    process = subprocess.Popen(
        [*as_user(user), *command],
        umask=int(setting("UMask"), 8),
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )
    try:
        wait_until(lambda: ask(admin, "GET", "/readyz").status == 200, "it serves")
        created = ask(port, "PUT", "/v1/stream/s", b"one", content_type="text/plain")
        assert created.status == 201
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.rglob("*")}
        assert modes.pop("streams") == 0o700
        assert {"headgate.db", "headgate.db-wal", "headgate.db-shm"} < modes.keys()
        assert set(modes.values()) == {0o600}
        assert {path.stat().st_uid for path in state.rglob("*")} == {user}
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def as_user(user: int) -> list[str]:
    """Return the words before a command that run it as another user, if that is allowed."""
    if os.geteuid() != 0:
        return []
    # It may read, and no more than read, what only root may: the tests may lie in its folder.
    reading = "=-all,+dac_read_search"
    return [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"),
        *(f"--inh-caps{reading}", f"--ambient-caps{reading}", f"--bounding-set{reading}"),
    ]


def reach(folder: Path) -> None:
    """Let another user into the test's folder, which pytest makes for its own user alone."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and path != path.parent:
            path.chmod(path.stat().st_mode | stat.S_IXOTH)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_new_data_folder_and_its_files_are_private_whatever_the_umask(
    umask: int, tmp_path: Path
) -> None:
    folder, port, admin = tmp_path / "new", free_port(), free_port()
    process = subprocess.Popen(
        [
            *(str(HEADGATE), "serve", "--listen", f"127.0.0.1:{port}"),
            *("--admin", f"127.0.0.1:{admin}", "--storage", f"file:{folder}"),
        ],
        umask=umask,
    )
    try:
        wait_until(lambda: ask(admin, "GET", "/readyz").status == 200, "it serves")
        ask(port, "PUT", "/v1/stream/s", b"one", content_type="text/plain")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert "headgate.db-wal" in modes
        assert set(modes.values()) == {0o600}
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("processes")
def test_a_data_folder_open_to_others_keeps_its_mode_and_a_warning_is_logged(
    tmp_path: Path,
) -> None:
    folder, port, admin = tmp_path / "open", free_port(), free_port()
    folder.mkdir()
    folder.chmod(0o755)
    process = subprocess.Popen(
        [
            *(str(HEADGATE), "serve", "--listen", f"127.0.0.1:{port}"),
            *("--admin", f"127.0.0.1:{admin}", "--storage", f"file:{folder}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(lambda: ask(admin, "GET", "/readyz").status == 200, "it serves")
        process.terminate()
        told, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert '"settings.dangerous"' in told
        assert f"--storage: storage: others can look into the folder {folder}" in told
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    finally:
        process.kill()
        process.wait()
