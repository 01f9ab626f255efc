"""`text`: strings one after the other, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from headgate.runs.formats.contract import NotAnItem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.runs.records import RunState


class TextWriter:
    """Each string is an item."""

    def items(self, given: object) -> list[object]:
        """The string; the empty one is left out."""
        if not isinstance(given, str):
            raise NotAnItem(f"a run in the format text takes str, not {type(given).__name__}")
        return [given] if given else []

    def closing(self) -> list[object]:
        """Nothing."""
        return []


class Text:
    """The body is the text. How the run ended is not in it: the state of the run tells."""

    name = "text"
    headers: Mapping[str, str] = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
    }
    last = b""
    keep_alive = b""

    def opening(self, run_id: str) -> list[object]:  # noqa: ARG002 - text names no run
        """Nothing."""
        return []

    def writer(self) -> TextWriter:
        """A writer for one producer."""
        return TextWriter()

    def ending(self, state: RunState) -> list[object]:  # noqa: ARG002
        """Nothing."""
        return []

    def rendered(self, item: bytes, count: int) -> bytes:  # noqa: ARG002
        """The characters."""
        return str(json.loads(item)).encode()

    def rendered_end(self, state: RunState, count: int) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""
