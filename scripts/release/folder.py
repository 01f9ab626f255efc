"""The folder of a release: it loses an earlier one, and nothing that somebody else put there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUMS = "SHA256SUMS"
MADE = re.compile(
    rf"headgate[-_].+\.(whl|tar\.gz|tgz|deb|cdx\.json)|README\.md|LICENSES\.txt|{SUMS}"
)


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """Remove the release that is in a folder, and keep other processes from making one there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as why:
        raise click.ClickException(f"no release can be made there: {why}") from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"another release is being made in {folder}") from None
        _empty(folder)
        yield
    finally:
        os.close(held)


def _empty(folder: Path) -> None:
    found = sorted(folder.iterdir())
    # Who has followed Five minutes there has streams there.
    others = [it.name for it in found if it.is_dir() or not MADE.fullmatch(it.name)]
    if others:
        what = ", ".join(others)
        raise click.ClickException(f"{folder} has what no release has; move it away: {what}")
    # The checksums first: without them nobody takes the rest for a whole release.
    for path in sorted(found, key=lambda it: it.name != SUMS):
        try:
            path.unlink()
        except OSError as why:
            raise click.ClickException(f"the earlier release cannot be removed: {why}") from None
