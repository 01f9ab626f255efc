"""What can go wrong with a resumable stream."""

from __future__ import annotations

from headgate.errors import StreamError


class StreamExists(StreamError):
    """The id of a stream that was to be created is in use, or was until a short while ago."""


class SourceFailed(StreamError):
    """The source ended with an error, after the text that was read."""


class ProducerLost(StreamError):
    """Whoever produced the stream answers no longer; the rest of the text is unknown."""


class TextTrimmed(StreamError):
    """The text that was asked for has left the producer's buffer, which is bounded."""
