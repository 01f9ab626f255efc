"""Links of pages in a release lead into its archives: the examples, or all of the documentation."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.release.making import Release

EXAMPLES = Path("docs/examples")
LINK = re.compile(r"(?<=\]\()(?!\w+:)[^)\s#]+")


def linked(release: Release, page: Path, place: Path) -> str:
    """Return a page for its place in the folder of the release, in which archives are unpacked."""

    def led(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(page.parent / link[0]))
        if target.is_relative_to(EXAMPLES):
            archive = Path(examples_folder(release))
            return os.path.relpath(archive / target.relative_to(EXAMPLES), place.parent)
        return os.path.relpath(Path(f"headgate-{release.version}", target), place.parent)

    return LINK.sub(led, (release.source / page).read_text())


def examples_folder(release: Release) -> str:
    """Return the name of the folder that the archive of the examples unpacks to."""
    return f"headgate-examples-{release.version}"
