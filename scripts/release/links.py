"""Links of pages in a release: into its archives, or to the forge."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.release.making import Release

EXAMPLES = Path("docs/examples")
LINK = re.compile(r"(?<=\]\()(?!\w+:)[^)\s#]+")
_CHANGELOG = "CHANGELOG.md"


def page_with_links(release: Release, page: Path, place: Path) -> str:
    """Return a page for its place in the folder of the release, in which archives are unpacked."""

    def moved_link(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(page.parent / link[0]))
        if target.is_relative_to(EXAMPLES):
            archive = Path(examples_folder(release))
            return os.path.relpath(archive / target.relative_to(EXAMPLES), place.parent)
        return os.path.relpath(Path(f"headgate-{release.version}", target), place.parent)

    return LINK.sub(moved_link, (release.source / page).read_text())


def examples_folder(release: Release) -> str:
    """Return the name of the folder that the archive of the examples unpacks to."""
    return f"headgate-examples-{release.version}"


def complete_links(release: Release) -> None:
    """Give the links of README whole addresses, which an index shows without the tree around it.

    Their form is that of the address of the changelog, once pyproject.toml has one.
    """
    project = tomllib.loads((release.source / "pyproject.toml").read_text())["project"]
    changelog: str = project.get("urls", {}).get("Changelog", "")
    if changelog.endswith(_CHANGELOG):
        pages = changelog.removesuffix(_CHANGELOG)
        # An image is shown by the address of its bytes alone.
        images = re.sub("/(blob|src)/", "/raw/", pages, count=1)
        readme = release.source / "README.md"
        readme.write_text(
            LINK.sub(
                lambda link: (images if link[0].endswith((".svg", ".png")) else pages) + link[0],
                readme.read_text(),
            )
        )
