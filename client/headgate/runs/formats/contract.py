"""What a format is: how a source's items stand in the stream, and how readers are sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from headgate.records import RunState

# A literal, so that type checkers find a name that is none.
FormatName: TypeAlias = Literal["text", "ndjson", "sse", "ai-sdk"]


class NotAnItem(ValueError):
    """What a source gave does not fit the format of its run."""


def named(given: object) -> str:
    """What a source gave, in an error."""
    return "None" if given is None else f"this {type(given).__name__}"


def refuse_message(format_name: str, message_id: str | None) -> None:
    """Raise ValueError if a message is named in a format that has none."""
    if message_id is not None:
        raise ValueError(
            f"message_id names the message of a run in the format ai-sdk: one in {format_name} "
            "has none"
        )


class ItemWriter(Protocol):
    """What a source gives, turned into items of the stream; one for each producer."""

    @property
    def finish_reason(self) -> str | None:
        """Why the model has stopped, where the source or its events tell."""

    def items(self, given: object) -> list[object]:
        """The items for what the source gave; NotAnItem for what is none."""

    def closing(self) -> list[object]:
        """The items that complete what is begun, where all before it is written."""


class Completion(Protocol):
    """Sees the items of a stream, and tells which complete what is begun in them."""

    def take(self, item: bytes) -> None:
        """One of the items, in their order."""

    def closing(self) -> list[object]:
        """As of an ItemWriter."""


class NothingBegun:
    """The Completion of formats whose items are whole, each by itself."""

    def take(self, item: bytes) -> None:
        """It is whole."""

    def closing(self) -> list[object]:
        """Nothing."""
        return []


class Format(Protocol):
    """One of the formats."""

    @property
    def name(self) -> str:
        """Its name, which also stands in the stream."""

    @property
    def media_type(self) -> str:
        """The content type of the answers to readers."""

    @property
    def last(self) -> bytes:
        """What a reader is sent after the last item."""

    @property
    def tells_end(self) -> bool:
        """Whether readers are sent how the run ended; else their body is cut when it failed."""

    @property
    def numbers_end(self) -> bool:
        """Whether what readers are sent for the record of the end counts as an item."""

    @property
    def keep_alive(self) -> bytes:
        """What a reader is sent from time to time while there is no item."""

    def headers(self, run_id: str, tail: int | None) -> dict[str, str]:
        """Other fields of an answer; `tail` is the index of the newest item, where asked for."""

    def opening(self, run_id: str, message_id: str | None) -> list[object]:
        """Return the items before the first of the source.

        ValueError for a `message_id` where the format has no messages, or that can be none.
        """

    def writer(self, begun: Completion | None = None) -> ItemWriter:
        """A writer for one producer of a run, which goes on in what another one has begun."""

    def completion(self) -> Completion:
        """What finds out what is begun in a run that another process has left."""

    def ending(self, state: RunState, finish_reason: str | None = None) -> list[object]:
        """Return the items that tell in the format's own way how the run ended."""

    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002 - what SSE calls it
        """Return what a reader is sent for an item, which tells its `id` to go on behind it."""

    def rendered_end(self, state: RunState, id: str) -> bytes:  # noqa: A002
        """Return what a reader is sent for the record of the end, beside items of the ending."""
