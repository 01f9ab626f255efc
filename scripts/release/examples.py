"""The examples as an archive that is used with the wheels beside it, without a clone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scripts.release.archives import END, pack
from scripts.release.links import EXAMPLES, examples_folder, page_with_links

if TYPE_CHECKING:
    from scripts.release.making import Release

# What is in the archive under another path than in the tree.
MOVED = {
    "LICENSE": "LICENSE",
    "requirements/chat.txt": "chat/requirements.txt",  # pip wants the versions that were tried
}


def build(release: Release) -> None:
    """Make the archive."""
    archive = examples_folder(release)
    files = {name: (release.source / path).read_bytes() for path, name in MOVED.items()}
    for path in (release.source / EXAMPLES).rglob("*"):
        if path.is_file():
            page = path.relative_to(release.source)
            place = Path(archive, page.relative_to(EXAMPLES))
            content = path.read_bytes()
            if path.suffix == ".md":
                content = page_with_links(release, page, place).encode()
            files[str(page.relative_to(EXAMPLES))] = content
    pack(release.folder / f"{archive}{END}", files, release.moment)
