"""The file that keeps a gateway's events across restarts, beside the data of a `file:` log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from admin.model.events import ConsoleEvent
from admin.own_files import open_own, replace_lines
from admin.record.event_record import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME = "headgate.events"
LARGEST_FILE = 2 * MOST_BYTES  # then it is written anew, with the events that are kept
_decoder = msgspec.json.Decoder(ConsoleEvent)


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
        with open_own(self.path, "ab") as file:
            file.write(lines if self._is_whole else b"\n" + lines)
            self._is_whole = False
            file.flush()
            self._is_whole = True
            return file.tell() > LARGEST_FILE

    def replace(self, events: Iterable[ConsoleEvent]) -> None:
        """Write the file anew. Raises OSError."""
        replace_lines(self.path, map(msgspec.json.encode, events))
