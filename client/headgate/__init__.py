"""Headgate for applications: durable streams to write to, to follow and to resume.

    async with headgate.Client(url) as client: ...

Each name is loaded when it is first used, so that unused parts cost no import time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.chats import Chats
    from headgate.errors import (
        BadRequest,
        Closed,
        Conflict,
        Fenced,
        Gone,
        NotAuthorized,
        ProtocolError,
        SourceFailed,
        StreamError,
        StreamNotFound,
        TooLarge,
        Unavailable,
    )
    from headgate.multi_chunks import encode_multi_chunks
    from headgate.resumable import ResumableStreams
    from headgate.runs import Answer, Runs, RunState
    from headgate.sending.writer import StreamWriter
    from headgate.streams.client import Client
    from headgate.streams.messages import Message
    from headgate.streams.stream import Stream
    from headgate.workers import Job, Worker

__all__ = [
    "Answer",
    "BadRequest",
    "Chats",
    "Client",
    "Closed",
    "Conflict",
    "Fenced",
    "Gone",
    "Job",
    "Message",
    "NotAuthorized",
    "ProtocolError",
    "ResumableStreams",
    "RunState",
    "Runs",
    "SourceFailed",
    "Stream",
    "StreamError",
    "StreamNotFound",
    "StreamWriter",
    "TooLarge",
    "Unavailable",
    "Worker",
    "encode_multi_chunks",
]

# The modules of the names that are not in `errors`.
_MODULES = {
    "Answer": "runs",
    "Chats": "chats",
    "Client": "streams.client",
    "Job": "workers",
    "Message": "streams.messages",
    "ResumableStreams": "resumable",
    "RunState": "runs",
    "Runs": "runs",
    "Stream": "streams.stream",
    "StreamWriter": "sending.writer",
    "Worker": "workers",
    "encode_multi_chunks": "multi_chunks",
}


def __dir__() -> list[str]:
    """Return the public names alone, whatever modules have been imported."""
    return sorted((*__all__, "__version__"))


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("headgate-client")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"headgate.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value
