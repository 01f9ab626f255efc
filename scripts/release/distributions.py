"""The source archives and wheels of the server, the library and the doctor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scripts.release.description import complete
from scripts.release.making import run

if TYPE_CHECKING:
    from scripts.release.making import Release

PROJECTS = (".", "client", "doctor")


def build(release: Release) -> None:
    """Build them; each wheel is made from the files that are in the source archive, too."""
    complete(release)
    for project in PROJECTS:
        build = (sys.executable, "-m", "hatchling", "build", "-d", release.folder)
        run(build, folder=release.source / project)


def check(release: Release) -> None:
    """See that an index would take them."""
    files = release.files("headgate*.whl", "headgate*.tar.gz")
    run((sys.executable, "-m", "twine", "check", "--strict", *files))
