"""The source archives and wheels of the server, the library and the doctor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scripts.release.links import complete_links
from scripts.release.making import run

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.release.making import Release

PROJECTS = (".", "client", "doctor")


def build(release: Release) -> None:
    """Build them; each wheel is made from the files that are in the source archive, too."""
    complete_links(release)
    for project in PROJECTS:
        build_project(release.source / project, release.folder)


def build_project(source: Path, folder: Path, *options: str) -> None:
    """Build the source archive and the wheel of one project, or what the options say."""
    run((sys.executable, "-m", "hatchling", "build", "-d", folder, *options), folder=source)


def check(release: Release) -> None:
    """See that an index would take them."""
    files = release.files("headgate*.whl", "headgate*.tar.gz")
    run((sys.executable, "-m", "twine", "check", "--strict", *files))
