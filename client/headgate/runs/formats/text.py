"""The format `text` of a run: strings one after the other, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.dialects.parts import NotAnItem, Text, described
from headgate.dialects.source_reader import SourceReader
from headgate.runs.formats.contract import Format

if TYPE_CHECKING:
    from headgate.runs.formats.contract import Completion


class TextWriter:
    """A writer whose items are strings."""

    finish_reason = None  # text cannot carry one

    def __init__(self) -> None:
        self._reader = SourceReader()

    def items(self, value: object) -> list[object]:
        """Return the strings in a value; skip empty ones and events without text of the answer."""
        if isinstance(value, str):
            return [value] if value else []
        parts, _ = self._reader.read(value)
        if parts is None:
            raise NotAnItem(
                f"a run in the format text takes str, and events, not {described(value)}"
            )
        texts = [part.delta for part in parts if isinstance(part, Text) and part.kind == "text"]
        return [text for text in texts if text]

    def closing(self) -> list[object]:
        """Return no items: each string is complete."""
        return []


class PlainText(Format):
    """A body that is the text; it is cut if the run failed, which only the run's state reports."""

    name = "text"
    media_type = "text/plain; charset=utf-8"
    tells_end = False

    @override
    def writer(self, unfinished: Completion | None = None) -> TextWriter:
        return TextWriter()

    @override
    def rendered(self, item: bytes, id: str) -> bytes:
        return str(json.loads(item)).encode()
