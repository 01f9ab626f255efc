"""The progress of a run that goes on in another process: which of its steps are done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

DELTA = "text-delta"  # the type of the chunks of a UI message that hold text


@dataclass(frozen=True, slots=True)
class Step:
    """The end of a step of a run, yielded by its source behind the items of that step.

    The source is asked for more once the stream has the step.

    Attributes:
        key: The name of the step among those of its run.
        value: Any JSON value, for the process that takes the run over.
        items: More items of the step. Up to 998, with the chunks that the format adds, and up to
            256 KiB with `value`, are in the stream at once with the step, or not at all. (A request
            has 1,000 chunks: the step is one, and a mark may be another.)
    """

    key: str
    value: object = None
    items: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The content of a run's stream as the run is taken over; empty for a run that begins.

    Attributes:
        items: Number of items that readers are sent.
        steps: The values of the steps that are done, by their keys, in their order.
        half: The items behind the last step: of one that was under way. None of more than 4 MiB.
        format: The name of the format of the run.
    """

    items: int = 0
    steps: dict[str, Any] = field(default_factory=dict)
    half: Sequence[Any] = ()
    format: str = ""

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
