"""Two builds of a commit are the same bytes, whatever the machine is set to."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.release.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("distributions", "npm", "examples", "image", "materials")
# Another day, umask, place, language and order of hashes.
OTHERWISE = (
    *("env", "TZ=Asia/Kathmandu", "LC_ALL=C", "PYTHONHASHSEED=1", "HEADGATE_VERSION=7"),
    *("sh", "-c", 'umask 077 && exec "$@"', "sh", "faketime", "-f", "+400d"),
)

GIT_OTHERWISE = {
    "core.abbrev": "20",
    "core.autocrlf": "true",
    "tar.umask": "0077",
}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(300)  # each tries the image
def test_two_builds_of_a_commit_have_equal_checksums(tmp_path: Path) -> None:
    sums = []
    for name, preface in (("one", ()), ("another", OTHERWISE)):
        (tmp_path / name).mkdir()
        repository = Repository(tmp_path / name / f"clone-{name}")
        for setting, value in GIT_OTHERWISE.items() if preface else ():
            repository.git("config", setting, value)
        made = tmp_path / name / "release"
        repository.release(made, *QUICK, preface=preface)
        checked = subprocess.run(
            ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, capture_output=True
        )
        assert checked.returncode == 0
        sums.append((made / "SHA256SUMS").read_text().splitlines())
        assert len(sums[-1]) == len([*made.iterdir()]) - 1
    assert len(sums[0]) == 15
    assert sums[0] == sums[1]
