"""Headgate for threads: twins of the library's classes, for programs without asyncio.

Made by `python -m scripts.sync_twins`.

runs = headgate.sync.Runs("http://127.0.0.1:4437/v1/stream/runs")
answer = runs.start(id, produce(question), format="ai-sdk")
"""

from headgate.sync.answer import Answer
from headgate.sync.chats import Chats
from headgate.sync.runs import Runs
from headgate.sync.streams import Client, Stream
from headgate.sync.twins import StreamIterator
from headgate.sync.workers import Job, JobStream, Worker
from headgate.sync.writer import StreamWriter

__all__ = [
    "Answer",
    "Chats",
    "Client",
    "Job",
    "JobStream",
    "Runs",
    "Stream",
    "StreamIterator",
    "StreamWriter",
    "Worker",
]


def __dir__() -> list[str]:
    """Return the public names alone, whatever modules have been imported."""
    return sorted(__all__)
