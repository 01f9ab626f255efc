"""Links of pages in a release lead into its source archive, which has all of the documentation."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.release.making import Release

LINK = re.compile(r"(?<=\]\()(?!\w+:)[^)\s#]+")


def linked(release: Release, page: Path, place: Path, beside: Path | None = None) -> str:
    """Return a page for its place in the folder of the release, in which archives are unpacked.

    Links to files of the folder `beside` stay as they are: it comes along.
    """

    def led(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(page.parent / link[0]))
        if beside and target.is_relative_to(beside):
            return link[0]
        return os.path.relpath(Path(f"headgate-{release.version}", target), place.parent)

    return LINK.sub(led, (release.source / page).read_text())
