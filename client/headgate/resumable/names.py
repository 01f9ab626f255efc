"""The keys and channels of a stream in a broker, and what stands in its sentinel."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "headgate:resumable"
# A sentinel is a count of those who asked for the stream, until it is done. A reader that has heard
# nothing of the producer writes that it is lost, until it answers somebody again.
LOST, DONE = "lost", "done"
IN_USE = "1"


@dataclass(frozen=True, slots=True)
class Names:
    """The keys and channels of one stream, whose id may be any text."""

    stream_id: str
    prefix: str = PREFIX

    @property
    def sentinel(self) -> str:
        """The key by which everybody knows of the stream."""
        return f"{self.prefix}:sentinel:{self.stream_id}"

    @property
    def requests(self) -> str:
        """The channel on which the producer is asked."""
        return f"{self.prefix}:request:{self.stream_id}"

    def text(self, reader: str) -> str:
        """Return the channel on which one reader is answered."""
        return f"{self.prefix}:text:{reader}"
