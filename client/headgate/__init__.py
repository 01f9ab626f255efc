"""Headgate for applications: durable streams to write to, to follow and to resume.

    async with headgate.Client(url) as client: ...

Each name is loaded when it is first used, so that unused parts cost no import time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.chats import Chats
    from headgate.endpoint import Authorization
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
    from headgate.resumable import ResumableStreams
    from headgate.runs import Answer, FormatName, Runs, RunState, Status
    from headgate.sending.writer import StreamWriter
    from headgate.stream_requests import Metadata
    from headgate.streams.client import Client
    from headgate.streams.messages import Message
    from headgate.streams.stream import Stream
    from headgate.workers import Job, JobStream, WebhookReceiver, Worker, verify_webhook

__all__ = [
    "Answer",
    "Authorization",
    "BadRequest",
    "Chats",
    "Client",
    "Closed",
    "Conflict",
    "Fenced",
    "FormatName",
    "Gone",
    "Job",
    "JobStream",
    "Message",
    "Metadata",
    "NotAuthorized",
    "ProtocolError",
    "ResumableStreams",
    "RunState",
    "Runs",
    "SourceFailed",
    "Status",
    "Stream",
    "StreamError",
    "StreamNotFound",
    "StreamWriter",
    "TooLarge",
    "Unavailable",
    "WebhookReceiver",
    "Worker",
    "verify_webhook",
]

# The modules of the names that are not in `errors`.
_MODULES = {
    "Answer": "runs",
    "Authorization": "endpoint",
    "Chats": "chats",
    "Client": "streams.client",
    "FormatName": "runs",
    "Job": "workers",
    "JobStream": "workers",
    "Message": "streams.messages",
    "Metadata": "stream_requests",
    "ResumableStreams": "resumable",
    "RunState": "runs",
    "Runs": "runs",
    "Status": "runs",
    "Stream": "streams.stream",
    "StreamWriter": "sending.writer",
    "WebhookReceiver": "workers",
    "Worker": "workers",
    "verify_webhook": "workers",
}


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
