"""The format `text` of a run: strings one after the other, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from headgate.dialects.parts import NotAnItem, Text, described
from headgate.dialects.source_reader import SourceReader
from headgate.runs.formats.contract import NothingOpen, refuse_message

if TYPE_CHECKING:
    from headgate.records import RunState
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


class PlainText:
    """A body that is the text; it is cut if the run failed, which only the run's state reports."""

    name = "text"
    media_type = "text/plain; charset=utf-8"
    last = b""
    tells_end = False
    numbers_end = False
    keep_alive = b""

    def headers(self, run_id: str, tail: int | None) -> dict[str, str]:  # noqa: ARG002
        """Return no fields."""
        return {}

    def opening(self, run_id: str, message_id: str | None) -> list[object]:  # noqa: ARG002
        """Return no items; refuse a message id, which text cannot carry."""
        refuse_message(self.name, message_id)
        return []

    def writer(self, unfinished: Completion | None = None) -> TextWriter:  # noqa: ARG002
        """Return a writer for one producer."""
        return TextWriter()

    def completion(self) -> NothingOpen:
        """Return a completion that finds nothing open."""
        return NothingOpen()

    def ending(
        self,
        state: RunState,  # noqa: ARG002
        finish_reason: str | None = None,  # noqa: ARG002
    ) -> list[object]:
        """Return no items: text cannot carry how a run ended."""
        return []

    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002, ARG002
        """Return the string in UTF-8."""
        return str(json.loads(item)).encode()

    def rendered_end(self, state: RunState, id: str) -> bytes:  # noqa: A002, ARG002
        """Return no bytes: text cannot carry how a run ended."""
        return b""
