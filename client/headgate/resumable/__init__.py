"""Streams of text that outlive their readers."""

from headgate.resumable.streams import ResumableStreams

__all__ = ["ResumableStreams"]
