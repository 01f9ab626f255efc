"""The examples as an archive that is used with the wheels beside it, without a clone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.release.archives import END, pack

if TYPE_CHECKING:
    from scripts.release.making import Release

EXAMPLES = Path("docs/examples")
# What is in the archive under another path than in the tree.
MOVED = {
    "LICENSE": "LICENSE",
    "requirements/chat.txt": "chat/requirements.txt",  # pip wants the versions that were tried
}
LINK = re.compile(r"(?<=\]\()[^)\s#:]+(?=[)#])")


def build(release: Release) -> None:
    """Make the archive."""
    folder = release.source / EXAMPLES
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    for name, page in files.items():
        if name.endswith(".md"):
            files[name] = _linked(Path(name).parent, page.decode(), release.version).encode()
    for path, name in MOVED.items():
        files[name] = (release.source / path).read_bytes()
    pack(release.folder / f"headgate-examples-{release.version}{END}", files, release.moment)


def _linked(folder: Path, page: str, version: str) -> str:
    """Let links that lead out of the examples lead into the server's source archive.

    That is unpacked beside this one, as the page of all examples says.
    """

    def led(link: re.Match[str]) -> str:
        target = os.path.normpath(EXAMPLES / folder / link[0])
        if Path(target).is_relative_to(EXAMPLES):
            return link[0]
        return os.path.relpath(Path("..", f"headgate-{version}", target), folder)

    return LINK.sub(led, page)
