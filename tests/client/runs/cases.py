"""Answers that SDKs and graphs read, and what views and runs make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import plain

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Case:
    """What a provider sends, one body for each call of the model, or what a graph has streamed."""

    name: str
    api: str
    bodies: Sequence[bytes] = ()
    events: Sequence[object] = ()
    outputs: dict[str, Any] = field(default_factory=dict)  # of the application's tools, by call
    functions: tuple[str, ...] = ("weather",)
    is_helped: bool = False  # asked for with the helper of the SDK, whose events are more

    def told(self) -> dict[str, Any]:
        """The case as the program reads it."""
        about = {"name": self.name, "api": self.api, "calls": len(self.bodies)}
        events = plain(self.events) if self.events else None
        more = {"functions": self.functions, "outputs": self.outputs or None, "events": events}
        return {**about, **more}
