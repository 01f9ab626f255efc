"""What only a person can fill in: found in the tree, since each place has a mark.

A mark is a name below `headgate.invalid`, which never exists (RFC 6761, section 6.4), or words that
hold only until there is a release. Where a program or a reader would take such a name for an
address, its line is a comment that is complete but for the name. It has a mark of its own, so that
a line is still found whose name is filled in and which has stayed a comment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# What to write in place of each mark; docs/releasing.md has the same table.
WRITE = {
    "maintainers@headgate.invalid": "the mail address of those who maintain it; in `CODEOWNERS`, "
    "names on the forge will do",
    "security@headgate.invalid": "the mail address for reports of vulnerabilities; remove its line "
    "if the forge takes them in private",
    "source.headgate.invalid": "host and path of the repository on its forge, where paths below it "
    "may differ",
    "docs.headgate.invalid": "host and path of the documentation, which `make docs` builds",
    "registry.headgate.invalid": "host and path of the registry to which the image is pushed",
    "<this repository>": "the address to clone",
    "<fill in>": "nothing: remove it with the signs of the comment, once the line is complete",
    "not released yet": "the name by which a package is installed; in the changelog, the date",
}
_WORDS = (re.escape(mark).replace(r"\ ", r"\s+") for mark in WRITE)  # lines end between words
_MARK = re.compile("|".join(_WORDS), re.IGNORECASE)
# They speak of the marks.
_ABOUT_MARKS = ("scripts/release/", "tests/", "docs/releasing.md")


class Place(NamedTuple):
    """A place that is not filled in."""

    file: str
    line: int
    mark: str


def places(root: Path, files: Iterable[str]) -> list[Place]:
    """Return the places in these files of the tree that nobody has filled in, in order."""
    looked_at = (file for file in files if not file.startswith(_ABOUT_MARKS))
    # A deleted file is already counted among those that are not as committed.
    found = (file for file in sorted(looked_at) if (root / file).exists())
    return [place for file in found for place in _places(root, file)]


def to_do(found: Iterable[Place]) -> list[str]:
    """Return a line for each mark, with what to write and where."""
    where: dict[str, list[str]] = {}
    for place in dict.fromkeys(found):  # a line may have a mark twice
        where.setdefault(place.mark, []).append(f"{place.file}:{place.line}")
    return [f"{mark}: {WRITE[mark]}: {', '.join(where[mark])}" for mark in WRITE if mark in where]


def _places(root: Path, file: str) -> Iterator[Place]:
    text = (root / file).read_text(encoding="utf-8", errors="replace")
    for found in _MARK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Place(file, line, " ".join(found[0].split()).lower())
