"""The interface of formats: how items are stored in a run's stream, and sent to readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from headgate.records import RunState

# A literal, so that type checkers find a name that is none.
FormatName: TypeAlias = Literal["text", "ndjson", "sse", "ai-sdk"]
"""The format of a run: how its items are stored, and sent to readers.

- `text`: pieces of text, one after the other.
- `ndjson`: JSON values, each on a line.
- `sse`: JSON values as server-sent events, which an `EventSource` resumes.
- `ai-sdk`: the UI message stream of the AI SDK, for `useChat`.
"""


# A comment without a blank line, after which httpx-sse and others would see an event without data.
KEEP_ALIVE = b": keep-alive\n"


class ItemWriter(Protocol):
    """The encoder of one producer, which turns the source's values into items of the stream."""

    @property
    def finish_reason(self) -> str | None:
        """The reason why the model stopped, if the source or its events give one."""

    def items(self, value: object) -> list[object]:
        """Return the items for a value of the source. Raises NotAnItem if it does not fit."""

    def closing(self) -> list[object]:
        """Return the items that complete the open parts, after all others are written."""


class Completion(Protocol):
    """The state of a message that another producer has left unfinished, read from its items."""

    def take(self, item: bytes) -> None:
        """Update the state with the next item of the stream, in order."""

    def closing(self) -> list[object]:
        """Return the items that complete the parts left open by another producer."""


class NothingOpen:
    """The Completion of formats in which each item is complete."""

    def take(self, item: bytes) -> None:
        """Ignore the item, because each item of this format is complete."""

    def closing(self) -> list[object]:
        """Return no items."""
        return []


class Format(ABC):
    """A format of runs: how items are stored in the stream, and sent to readers.

    What a format does not define is of one in which each item is complete, and which has neither
    messages nor an end of its own.

    Attributes:
        name: The name, which is also recorded in the stream.
        media_type: The content type of responses to readers.
        keep_alive: The bytes that are sent from time to time while there is no item.
        last: The bytes that are sent after the last item.
        tells_end: True if the body says how the run ended; else it is cut if the run has failed.
        numbers_end: True if the bytes sent for the record of the end count as an item.
    """

    name: str
    media_type: str
    keep_alive = b""
    last = b""
    tells_end = True
    numbers_end = False

    def headers(self, _run_id: str, _tail: int | None) -> dict[str, str]:
        """Return further fields of a response; `tail` is the index of the newest item, or None."""
        return {}

    def opening(self, _run_id: str, message_id: str | None) -> list[object]:
        """Return the items before the first of the source.

        Raises ValueError for an invalid `message_id`, or in a format without messages.
        """
        if message_id is not None:
            raise ValueError(
                f"message_id names the message of a run in the format ai-sdk: one in {self.name} "
                "has none"
            )
        return []

    @abstractmethod
    def writer(self, unfinished: Completion | None = None) -> ItemWriter:
        """Return a writer for one producer, which continues the parts that are `unfinished`."""

    def completion(self) -> Completion:
        """Return the object that finds the unfinished parts of a run which another process left."""
        return NothingOpen()

    def ending(self, _state: RunState, _finish_reason: str | None = None) -> list[object]:
        """Return the items by which the format reports how the run ended."""
        return []

    @abstractmethod
    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002 - what SSE calls it
        """Return the bytes sent for an item; a reader can resume after it by its `id`."""

    def rendered_end(self, _state: RunState, _id: str) -> bytes:
        """Return the bytes sent for the record of the end, besides the items of `ending`."""
        return b""
