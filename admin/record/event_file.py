"""The file that keeps a gateway's events across restarts, beside the data of a `file:` log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from admin.model.events import ConsoleEvent
from admin.record.event_record import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings import Settings

NAME = "headgate.events"
LARGEST_FILE = 2 * MOST_BYTES  # then it is written anew, with the events that are kept
_decoder = msgspec.json.Decoder(ConsoleEvent)


def data_folder(settings: Settings) -> Path | None:
    """Return the folder of the first log that has one, or None: the console's files are there."""
    for route in settings.route_table:
        if route.log_kind is not None and route.log_kind.name == "file":
            return Path(route.origin.removeprefix("file:"))
    return None


def event_path(settings: Settings) -> Path | None:
    """Return the path of the file, or None where no route keeps its log in a folder."""
    folder = data_folder(settings)
    return None if folder is None else folder / NAME


class EventFile:
    """A JSON object a line, for each event and each change of one; the last of an id counts.

    A damaged line is left out: it was cut by a full disk, or a lost power supply.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_whole = False  # the file ends with a line end

    def read(self) -> list[ConsoleEvent]:
        """Return the events of the file, oldest first. Raises OSError."""
        if not self.path.exists():
            return []
        events = []
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - LARGEST_FILE))
            for line in file:
                try:
                    events.append(_decoder.decode(line))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
        return events

    def add(self, events: Iterable[ConsoleEvent]) -> bool:
        """Append events; return whether the file has become so large that it is to be replaced.

        Raises OSError.
        """
        lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
        with open(self.path, "ab", opener=_for_its_user) as file:
            file.write(lines if self._is_whole else b"\n" + lines)
            self._is_whole = False
            file.flush()
            self._is_whole = True
            return file.tell() > LARGEST_FILE

    def replace(self, events: Iterable[ConsoleEvent]) -> None:
        """Write the file anew. Raises OSError."""
        beside = self.path.with_suffix(".events-new")
        with open(beside, "wb", opener=_for_its_user) as file:
            for event in events:
                file.write(msgspec.json.encode(event) + b"\n")
        beside.replace(self.path)


def _for_its_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
