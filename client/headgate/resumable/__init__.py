"""Streams of text that outlive their readers."""

from headgate.resumable.brokers import Publisher, Subscriber
from headgate.resumable.streams import ResumableStreams

__all__ = ["Publisher", "ResumableStreams", "Subscriber"]
