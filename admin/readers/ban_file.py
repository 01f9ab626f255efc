"""The file that keeps bans across restarts, beside the data of a `file:` log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from admin.own_files import replace_lines
from admin.readers.ban_list import MOST_BANS, parse_bans

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.access.bans import Ban

NAME = "headgate.bans"
LARGEST_FILE = MOST_BANS * 4096  # bytes: names of clients have a few hundred


class BanFile:
    """A JSON object a line for each ban; a damaged line is left out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Ban]:
        """Return the bans of the file. Raises OSError."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            return parse_bans(file.read(LARGEST_FILE).splitlines())

    def replace(self, bans: Iterable[Ban]) -> None:
        """Write the file anew. Raises OSError."""
        replace_lines(self.path, map(msgspec.json.encode, bans))
