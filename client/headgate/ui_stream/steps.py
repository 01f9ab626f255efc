"""Steps of a UI message: each holds one call of the model, and what tools have answered to it.

A page that calls tools by itself looks at the last step to decide whether the model is asked again.
So what belongs to a step stands in one, whoever gave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from headgate.dialects.parts import NotAnItem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Chunk: TypeAlias = dict[str, Any]

START: Final[Chunk] = {"type": "start-step"}
FINISH: Final[Chunk] = {"type": "finish-step"}
EDGES = {"start-step", "finish-step"}
RESET: Final = "reset-step"  # takes back what is in the step
SOURCES = {"source-url", "source-document"}
# Chunks with which a piece of what the model says begins. An answer of a tool begins none: it may
# belong to a call that an earlier run has made.
BEGINNINGS = {
    *("text-start", "reasoning-start", *SOURCES, "file", "reasoning-file", "custom"),
    *("tool-input-start", "tool-input-available", "tool-input-error"),
}
NUMBERED = {"text-start", "reasoning-start", *SOURCES}  # their ids are
TEXTS = {"text", "reasoning"}
# What changes a step or what is open in it; most chunks are pieces, and do not.
NOTED = {*EDGES, RESET, *BEGINNINGS, *(f"{kind}-end" for kind in TEXTS)}


class _Stored(msgspec.Struct):
    """The fields of a stored chunk that decide whether something is open."""

    type: str = ""
    id: str = ""
    messageMetadata: Any = None  # noqa: N815 - as the AI SDK has it


_decoder = msgspec.json.Decoder(_Stored)


class Steps:
    """The steps of one message, into which its chunks are put in their order.

    Attributes:
        open_texts: The kinds and ids of texts and reasoning that have begun and not ended.
        begun: The number of parts with ids that are numbers, of stored chunks.
        usage: The tokens, as the last stored chunk that has them says.
    """

    def __init__(self) -> None:
        self.open_texts: dict[tuple[str, str], None] = {}
        self.begun = 0
        self.usage: dict[str, Any] = {}
        self._has_step = False
        self._is_reset = False  # and nothing has begun since

    def take(self, item: bytes) -> None:
        """Learn what a stored chunk begins or ends."""
        try:
            chunk = _decoder.decode(item)
        except msgspec.DecodeError:
            return  # none that begins anything
        self._see(chunk.type, chunk.id)
        self.begun += chunk.type in NUMBERED
        if isinstance(chunk.messageMetadata, dict):
            usage = chunk.messageMetadata.get("usage")
            self.usage = usage if isinstance(usage, dict) else self.usage

    def placed(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Return the chunks, with the ends and beginnings of steps that they need among them."""
        placed: list[Chunk] = []
        for chunk in chunks:
            placed += self._placed(chunk) if chunk["type"] in NOTED else (chunk,)
        return placed

    def check(self, chunk: Chunk) -> None:
        """Raise NotAnItem for a piece or the end of what is not open: clients would throw at it."""
        kind, _, edge = chunk["type"].rpartition("-")
        is_piece = kind in TEXTS and edge in {"delta", "end"}
        if is_piece and (kind, chunk["id"]) not in self.open_texts:
            raise NotAnItem(
                f"no {kind} with the id {chunk['id'][:50]!r} is open for {chunk['type']}"
            )

    def closing(self) -> list[Any]:
        """Return the chunks that end what has begun, which a page would show as still coming."""
        ends: list[Chunk] = [{"type": f"{kind}-end", "id": id_} for kind, id_ in self.open_texts]
        closing = [*ends, FINISH] if self._has_step else ends
        self.open_texts.clear()
        self._has_step = False
        return closing

    def _placed(self, chunk: Chunk) -> list[Chunk]:
        type_, placed = chunk["type"], [chunk]
        if type_ == "start-step":
            # A step that was taken back is the one that begins anew.
            is_same = self._has_step and self._is_reset
            placed = [] if is_same else [*self.closing(), chunk]
        elif type_ == "finish-step":
            placed = self.closing() if self._has_step else []
        elif type_ in BEGINNINGS and not self._has_step:
            placed = [START, chunk]
        for each in placed:
            self._see(each["type"], str(each.get("id", "")))
        return placed

    def _see(self, type_: str, id_: str) -> None:
        """Remember what a chunk of this type begins, until another one ends it."""
        kind, _, edge = type_.rpartition("-")
        self._is_reset = type_ == RESET or (
            self._is_reset and type_ not in BEGINNINGS and type_ != "start-step"
        )
        if type_ in EDGES:
            self._has_step = edge == "step" and kind == "start"
        if type_ in {"finish-step", RESET}:
            self.open_texts.clear()  # a page forgets them, and fails at their ends
        elif kind in TEXTS and edge == "start":
            self.open_texts[kind, id_] = None
        elif kind in TEXTS and edge == "end":
            self.open_texts.pop((kind, id_), None)
