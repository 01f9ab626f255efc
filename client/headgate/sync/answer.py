"""An answer for web frameworks with threads: status, header fields and a streaming body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

    import headgate.runs.answer as runs
    from headgate.sync.loop_thread import LoopThread


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response with a streaming body, for web frameworks with threads.

    Attributes:
        status: The status code.
        headers: The header fields.
        body: The bytes as they come. To close it early ends the reading, never the run.
    """

    status: int
    headers: Mapping[str, str]
    body: Generator[bytes]


def answer_of(thread: LoopThread, answer: runs.Answer) -> Answer:
    """Return an answer whose body is read in the loop of this thread."""
    return Answer(answer.status, answer.headers, _pieces(thread, answer.body))


def _pieces(thread: LoopThread, body: AsyncGenerator[bytes]) -> Generator[bytes]:
    async def piece() -> bytes | None:
        return await anext(body, None)

    try:
        while (data := thread.call(piece)) is not None:
            yield data
    finally:
        # Nobody waits for it: this may be a garbage collection, in whatever thread.
        thread.begin(body.aclose())
