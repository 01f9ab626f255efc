"""The progress of a run that goes on in another process: which of its steps are done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

DELTA = "text-delta"  # the type of the chunks of a UI message that hold text


@dataclass(frozen=True, slots=True)
class Step:
    """Given by a source: what it gave before is the whole of a step, which is done.

    The source is asked for more when the stream has it. `key` names the step among those of its
    run. `value` is any JSON, for whoever takes the run over. `items` are given as if before; up to
    998 of them are in the stream at once with the step, or not at all, with the chunks that the
    format adds, and up to 256 KiB with `value`. (A request has 1,000 chunks: the step is one, and a
    mark may be another.)
    """

    key: str
    value: object = None
    items: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """Holds what is in the stream of a run as it is taken over; nothing, where it begins."""

    items: int = 0  # that readers are sent
    steps: dict[str, Any] = field(default_factory=dict)  # their values by their keys
    # Items behind the last of the steps: of one that was under way. None of more than 4 MiB.
    half: Sequence[Any] = ()
    format: str = ""  # of the run

    @property
    def last_step(self) -> str | None:
        """The key of the step that was done last."""
        return next(reversed(self.steps), None)

    @property
    def text(self) -> str:
        """The text of the step that was under way, as far as it came."""
        return "".join(map(_text, self.half))


def _text(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and item.get("type") == DELTA:
        return str(item["delta"])
    return ""
