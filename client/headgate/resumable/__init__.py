"""Streams of text that outlive their readers."""

from headgate.resumable.contract import Broker
from headgate.resumable.streams import ResumableStreams

__all__ = ["Broker", "ResumableStreams"]
