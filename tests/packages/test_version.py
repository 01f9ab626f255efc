"""The version of a build: only a release lacks the revision, and later builds sort later."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from scripts.version import RELEASE, debian, npm
from tests.release.repository import COMMITTED_AT, git
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")


class Sources:
    """A repository with the script that says the version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/version.py", folder / "scripts")

    def git(self, *words: str, at: int = 0) -> str:
        """Run git, at a time in seconds."""
        return git(self.folder, *words, at=COMMITTED_AT + at)

    def commit(self, at: int) -> str:
        """Make a commit, and return the revision as a version has it."""
        self.git("add", ".")
        self.git("commit", "--allow-empty", "--message", "change", at=at)
        return self.git("rev-parse", "HEAD")[:8]

    def version(self, **environment: str) -> str:
        """Return what the script says."""
        script = self.folder / "scripts/version.py"
        return subprocess.run(
            [sys.executable, script],
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()


def test_builds_between_releases_have_their_revision_and_sort_by_time(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    assert sources.version() == RELEASE  # as of a source archive
    assert sources.version(HEADGATE_VERSION="1.2.dev3+gabc") == "1.2.dev3+gabc"  # as of an image
    sources.git("init", "--quiet")
    found = [sources.version(PATH="")]  # without git
    assert found == [f"{RELEASE}.dev0+unknown"]
    for at in (0, 1, 86_400):
        revision = sources.commit(at)
        found.append(sources.version())
        assert found[-1].endswith(f"+g{revision}")
        assert npm(found[-1]).endswith(f".g{revision}")
    assert found[1].startswith(f"{RELEASE}.dev20270115080000+g")
    assert npm(found[1]).startswith(f"{RELEASE}-dev.20270115080000.g")
    assert npm(RELEASE) == RELEASE
    sources.git("tag", f"v{RELEASE}")
    found.append(sources.version())
    assert found[-1] == RELEASE
    assert sorted(found, key=Version) == found
    for older, newer in itertools.pairwise(f"{debian(one)}-1+deb12" for one in found):
        subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=True)


def test_a_version_is_the_same_whatever_git_is_set_to(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    sources.git("init", "--quiet")
    gpg = tmp_path / "gpg"
    gpg.write_text(
        "#!/bin/sh\ncat > /dev/null\necho >&2\necho '[GNUPG:] SIG_CREATED ' >&2\necho signature\n"
    )
    gpg.chmod(0o755)
    sources.git("config", "gpg.program", str(gpg))
    sources.git("config", "commit.gpgSign", "true")
    revision = sources.commit(0)
    for name, value in (("core.abbrev", "20"), ("log.showSignature", "true"), ("log.date", "raw")):
        sources.git("config", name, value)
        assert sources.version() == f"{RELEASE}.dev20270115080000+g{revision}"
