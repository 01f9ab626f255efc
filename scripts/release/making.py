"""What all parts of a release share: where its files come from and go to, and programs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
WHEELS = Path(sys.prefix, "wheels")  # those of the locks, which make fetches


class Release(NamedTuple):
    """A release that is being made."""

    source: Path  # the files of the commit, and nothing else
    folder: Path  # where the release is put, without folders in it
    version: str  # by PEP 440
    moment: int  # of the commit, in seconds: the time of every file in an archive
    revision: str  # of the commit, whole: the repository may have others before the end

    def files(self, *patterns: str) -> list[Path]:
        """Return the files of the release that have names like these, sorted."""
        return sorted(path for pattern in patterns for path in self.folder.glob(pattern))


class NotMadeHere(Exception):
    """A part needs what is not here, such as root: the last line of a release names it."""


def run(
    command: Sequence[str | Path], folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command and return what it wrote, which is in the error if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(  # noqa: S603 - the words are ours
        words,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise click.ClickException(f"{' '.join(words)} failed:\n{done.stdout}")
    return done.stdout


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder, with the owner and the modes of this process."""
    folder.mkdir()
    # Python 3.11.2, of Debian 12, has no filter that leaves out modes and owners.
    options = ("--no-same-permissions", "--no-same-owner", "--directory", folder)
    run(("tar", "--extract", "--file", archive, *options))
