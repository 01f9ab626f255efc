"""A request on a connection, as the connection sees it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.errors import OriginBroken
    from gateway.origin.answer import OriginAnswer
    from gateway.origin.heads import HeadPatterns


class Loss(Enum):
    """The reason why a request got no answer on its connection."""

    CUT = "the origin closed the connection without an answer"
    GARBLED = "what the origin answered is no HTTP, or its head is too long"
    REFUSED = "the origin's answer cannot be passed on"


class Attempt(Protocol):
    """A request on a connection, which calls one of `on_answer`, `on_lost` and `on_raised`."""

    is_head: bool  # its method is HEAD
    patterns: HeadPatterns

    def on_answer(self, answer: OriginAnswer) -> None:
        """Take the answer; if its body is not unread, the connection is free already."""

    def on_lost(self, loss: Loss, error: OriginBroken) -> None:
        """Go on without an answer; the connection is closed."""

    def on_released(self) -> None:
        """Take note that the body of the answer was read or released, if it was unread."""

    def on_raised(self) -> None:
        """Fail the request, because one of these methods raised: its answer is lost."""
