"""The ways to streams that a job needs: the same that pages and the API go for one stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from admin.model.streams import StreamSearch
    from gateway.features.questions.streams import StreamDescription, StreamPage


class SearchedStreams(Protocol):
    """The console's list of streams. Each method raises NotTold."""

    async def streams(self, search: StreamSearch, *, after: str, limit: int) -> StreamPage:
        """Return a page of the streams that a search finds, by name."""

    async def stream(self, route: str, name: str) -> StreamDescription:
        """Return a stream as it is now."""


class ChangedStreams(Protocol):
    """The console's changes of one stream. Each method raises NotTold."""

    def check_route(self, route: str) -> None:
        """Raise NotTold if no route has this prefix: its streams are not gone, but out of reach."""

    async def delete(self, route: str, name: str, stream_id: str | None) -> None:
        """Delete the stream at a name, if it is the one with this id."""

    async def close_stream(self, route: str, name: str) -> str:
        """Close a stream."""
