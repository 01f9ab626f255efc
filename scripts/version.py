"""The version of a build: `version.py` prints it, for images.

The commit of a release has a tag with its version. A build of another commit has the time and the
revision of that commit in its version, which sorts before the release that follows. Without a
repository, as in an image, it is `HEADGATE_VERSION`, or else that of the release.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

RELEASE = "0.1.0"  # the latest, or the next one before it is tagged
REVISION = 8  # digits of it in a version, beside the time
ROOT = Path(__file__).resolve().parent.parent


def version() -> str:
    """Return the version by PEP 440, such as 0.1.0 or 0.1.0.dev20261128082008+g277ff26c."""
    given = os.environ.get("HEADGATE_VERSION")
    if given or not (ROOT / ".git").exists():
        return given or RELEASE
    try:
        return _version_in_repository()
    except (OSError, subprocess.CalledProcessError):  # no git, or it does not trust the folder
        return f"{RELEASE}.dev0+unknown"


def _version_in_repository() -> str:
    tags = _git("tag", "--points-at", "HEAD").split()
    if {RELEASE, f"v{RELEASE}"} & set(tags):
        return RELEASE
    # By the time, and not by a count of commits, which a shallow clone does not have. The revision
    # is cut here: git would cut it by its settings and by how much the clone has.
    form = ("--no-patch", "--no-show-signature", "--date=format-local:%Y%m%d%H%M%S")
    moment, revision = _git("show", *form, "--format=%cd %H", "HEAD").split()
    return f"{RELEASE}.dev{moment}+g{revision[:REVISION]}"


def debian(found: str) -> str:
    """Return a version as Debian sorts it, such as 0.1.0~git20261128082008.277ff26c."""
    return re.sub(r"\.dev(\d+)\+g?(\w+)$", r"~git\1.\2", found)


def npm(found: str) -> str:
    """Return a version as npm sorts it, such as 0.1.0-dev.20261128082008.g277ff26c."""
    return re.sub(r"\.dev(\d+)\+g?(\w+)$", r"-dev.\1.g\2", found)


def _git(*words: str) -> str:
    return subprocess.run(  # noqa: S603 - git with words of ours
        ("git", "-C", str(ROOT), *words),  # noqa: S607 - as the PATH has it
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "TZ": "UTC"},
    ).stdout


if __name__ == "__main__":
    print(version())  # noqa: T201
