"""The file that keeps bans across restarts: in the folder of a `file:` log, for its user alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from admin.readers.ban_list import MOST_BANS, parse_bans

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.access.bans import Ban
    from gateway.settings import Settings

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
        """Write the file anew: after a crash it has all of the former bans or all of these.

        Raises OSError. One thread at a time may do so.
        """
        beside = self.path.with_name(f"{self.path.name}-new")
        with open(beside, "wb", opener=_for_its_user) as file:
            for ban in bans:
                file.write(msgspec.json.encode(ban) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def data_folder(settings: Settings) -> Path | None:
    """Return the folder of the first log that has one, or None."""
    for route in settings.route_table:
        if route.log_kind is not None and route.log_kind.name == "file":
            return Path(route.storage.removeprefix("file:"))
    return None


def _for_its_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
