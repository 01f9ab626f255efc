"""Streams of text that outlive their readers."""

from headgate.errors import (
    ProducerLost,
    SourceFailed,
    StreamExists,
    TextTrimmed,
)
from headgate.resumable.contract import Broker, Publisher, Subscriber
from headgate.resumable.streams import ResumableStreams

__all__ = [
    "Broker",
    "ProducerLost",
    "Publisher",
    "ResumableStreams",
    "SourceFailed",
    "StreamExists",
    "Subscriber",
    "TextTrimmed",
]
