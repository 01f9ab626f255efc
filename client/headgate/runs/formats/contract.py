"""The contract of formats: how items are stored in the stream, and sent to readers."""

from __future__ import annotations

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


class NotAnItem(ValueError):
    """A source's value that does not fit the format of its run."""


def named(given: object) -> str:
    """Describe a source's value for an error message."""
    return "None" if given is None else f"this {type(given).__name__}"


def refuse_message(format_name: str, message_id: str | None) -> None:
    """Raise ValueError if a message is named in a format that has none."""
    if message_id is not None:
        raise ValueError(
            f"message_id names the message of a run in the format ai-sdk: one in {format_name} "
            "has none"
        )


class ItemWriter(Protocol):
    """The encoder of one producer, which turns the source's values into items of the stream."""

    @property
    def finish_reason(self) -> str | None:
        """The reason why the model stopped, if the source or its events give one."""

    def items(self, given: object) -> list[object]:
        """Return the items for a value of the source; raise NotAnItem if it does not fit."""

    def closing(self) -> list[object]:
        """Return the items that complete what is open, once all items before are written."""


class Completion(Protocol):
    """Sees the items of a stream, and tells which complete what is begun in them."""

    def take(self, item: bytes) -> None:
        """Look at the next item of the stream; items come in their order."""

    def closing(self) -> list[object]:
        """Return the items that complete what another producer left open."""


class NothingBegun:
    """The Completion of formats whose items are whole, each by itself."""

    def take(self, item: bytes) -> None:
        """Ignore the item, because each item of this format is complete."""

    def closing(self) -> list[object]:
        """Return no items."""
        return []


class Format(Protocol):
    """A format of runs: the encoding of items in the stream and to readers."""

    @property
    def name(self) -> str:
        """Its name, which also stands in the stream."""

    @property
    def media_type(self) -> str:
        """The content type of the answers to readers."""

    @property
    def last(self) -> bytes:
        """The bytes that a reader gets after the last item."""

    @property
    def tells_end(self) -> bool:
        """True if readers are sent how the run ended; else their body is cut when it failed."""

    @property
    def numbers_end(self) -> bool:
        """True if the bytes that readers get for the record of the end count as an item."""

    @property
    def keep_alive(self) -> bytes:
        """The bytes that a reader gets from time to time while there is no item."""

    def headers(self, run_id: str, tail: int | None) -> dict[str, str]:
        """Return further fields of a response; `tail` is the index of the newest item, or None."""

    def opening(self, run_id: str, message_id: str | None) -> list[object]:
        """Return the items before the first of the source.

        ValueError for a `message_id` where the format has no messages, or that can be none.
        """

    def writer(self, begun: Completion | None = None) -> ItemWriter:
        """Return a writer for one producer, which goes on with what another one has `begun`."""

    def completion(self) -> Completion:
        """Return an object that finds what is open in a run that another process has left."""

    def ending(self, state: RunState, finish_reason: str | None = None) -> list[object]:
        """Return the items that tell in the format's own way how the run ended."""

    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002 - what SSE calls it
        """Return what a reader is sent for an item, which tells its `id` to go on behind it."""

    def rendered_end(self, state: RunState, id: str) -> bytes:  # noqa: A002
        """Return what a reader is sent for the record of the end, beside items of the ending."""
