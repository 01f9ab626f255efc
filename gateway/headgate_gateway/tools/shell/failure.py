"""Exceptions that end a command."""

from __future__ import annotations

import aiohttp

from headgate.errors import StreamError


class Failed(Exception):
    """The command ends here; the message says why, in one sentence without its full stop."""


class OutputClosed(Exception):
    """The reader of stdout has closed it, so there is nothing left to do."""


def is_untrusted(refusal: StreamError) -> bool:
    """Return whether a server's certificate was refused: another attempt would be, too."""
    return isinstance(refusal.__cause__, aiohttp.ClientConnectorCertificateError)


# What ends a command with a sentence: its own reasons, and those of the streams that it asks.
FAILURES = (Failed, StreamError)
