"""README as the description of the server, which an index shows without the tree around it."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.release.making import Release

_RELATIVE = re.compile(r"(?<=\]\()(?!https?:|#)[^)\s]+")
_CHANGELOG = "CHANGELOG.md"


def complete(release: Release) -> None:
    """Give its links whole addresses, once that of the changelog is known and shows their form."""
    project = tomllib.loads((release.source / "pyproject.toml").read_text())["project"]
    changelog: str = project.get("urls", {}).get("Changelog", "")
    if changelog.endswith(_CHANGELOG):
        pages = changelog.removesuffix(_CHANGELOG)
        # An image is shown by the address of its bytes alone.
        images = re.sub("/(blob|src)/", "/raw/", pages, count=1)
        readme = release.source / "README.md"
        readme.write_text(
            _RELATIVE.sub(
                lambda link: (images if link[0].endswith((".svg", ".png")) else pages) + link[0],
                readme.read_text(),
            )
        )
