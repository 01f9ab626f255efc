"""Steps of a UI message: each holds one call of the model, and what tools have answered to it.

A page that calls tools by itself looks at the last step to decide whether the model is asked again.
So what belongs to a step stands in one, whoever gave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headgate.dialects.parts import NotAnItem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Chunk: TypeAlias = dict[str, Any]

START: Final[Chunk] = {"type": "start-step"}
FINISH: Final[Chunk] = {"type": "finish-step"}
EDGES = {"start-step", "finish-step"}
RESET: Final = "reset-step"  # takes back what is in the step
# Chunks with which a piece of what the model says begins. An answer of a tool begins none: it may
# belong to a call that an earlier run has made.
BEGINNINGS = {
    *("text-start", "reasoning-start"),
    *("tool-input-start", "tool-input-available", "tool-input-error"),
    *("source-url", "source-document", "file", "reasoning-file", "custom"),
}
KINDS_WITH_END = {"text", "reasoning"}
# What changes a step or what is open in it; most chunks are pieces, and do not.
NOTED = {*EDGES, RESET, *BEGINNINGS, *(f"{kind}-end" for kind in KINDS_WITH_END)}


class Unfinished:
    """Keeps what chunks have begun and not ended: a step, and parts of text and reasoning.

    `parts` are these, by kind and id, in their order.
    """

    def __init__(self) -> None:
        self.has_step = False
        self.is_reset = False  # and nothing has begun since
        self.parts: dict[tuple[str, str], None] = {}

    def take(self, type_: str, part_id: str) -> None:
        """Remember what a chunk of this type begins, until another one ends it."""
        kind, _, edge = type_.rpartition("-")
        if type_ in BEGINNINGS:
            self.is_reset = False
        if type_ == "start-step":
            self.has_step = True
            self.is_reset = False
        elif type_ == "finish-step":
            self.has_step = False
            self.parts.clear()  # a page forgets them, and fails at their ends
        elif type_ == RESET:
            self.parts.clear()
            self.is_reset = True
        elif kind in KINDS_WITH_END and edge == "start":
            self.parts[kind, part_id] = None
        elif edge == "end":
            self.parts.pop((kind, part_id), None)

    def closing(self) -> list[Chunk]:
        """Return the chunks that end it all."""
        ends: list[Chunk] = [{"type": f"{kind}-end", "id": id_} for kind, id_ in self.parts]
        return [*ends, FINISH] if self.has_step else ends


class Steps:
    """Puts chunks into steps: all of one message, in their order."""

    def __init__(self, unfinished: Unfinished | None = None) -> None:
        self._unfinished = unfinished or Unfinished()

    @property
    def open_parts(self) -> Iterable[tuple[str, str]]:
        """The kinds and ids of parts that have begun and not ended."""
        return self._unfinished.parts

    def placed(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Return the chunks, with the ends and beginnings of steps that they need among them."""
        placed: list[Chunk] = []
        for chunk in chunks:
            placed += self._placed(chunk) if chunk["type"] in NOTED else (chunk,)
        return placed

    def check(self, chunk: Chunk) -> None:
        """Raise NotAnItem for a piece or the end of what is not open: clients would throw at it."""
        kind, _, edge = chunk["type"].rpartition("-")
        if (
            kind in KINDS_WITH_END
            and edge != "start"
            and (kind, chunk["id"]) not in self.open_parts
        ):
            raise NotAnItem(
                f"no {kind} with the id {chunk['id'][:50]!r} is open for {chunk['type']}"
            )

    def closing(self) -> list[Chunk]:
        """Return the chunks that end what has begun."""
        closing = self._unfinished.closing()
        self._see(closing)
        return closing

    def _placed(self, chunk: Chunk) -> list[Chunk]:
        type_, has_step = chunk["type"], self._unfinished.has_step
        if type_ == "start-step":
            # A step that was taken back is the one that begins anew.
            is_same = has_step and self._unfinished.is_reset
            placed = [] if is_same else [*self._unfinished.closing(), chunk]
        elif type_ == "finish-step":
            placed = self._unfinished.closing() if has_step else []
        elif type_ in BEGINNINGS and not has_step:
            placed = [START, chunk]
        else:
            placed = [chunk]
        self._see(placed)
        return placed

    def _see(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            self._unfinished.take(chunk["type"], str(chunk.get("id", "")))
