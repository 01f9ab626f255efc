"""Error texts for readers: short, and encodable in UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

MOST_CHARACTERS = 1000  # a few sentences; a message may hold all of what a model was asked


def sendable(words: str) -> str:
    """Return the text cut to MOST_CHARACTERS, with a question mark for each lone surrogate.

    A page shows it as `error.message`, so it ends with no blank or line end.
    """
    return words[:MOST_CHARACTERS].rstrip().encode(errors="replace").decode()


def safe_error_text(
    error: Exception,
    error_text: Callable[[Exception], str],
    default: Callable[[Exception], str],
    log: logging.Logger,
) -> str:
    """Return the application's `error_text` of an error, or the default if that function raises."""
    try:
        return sendable(error_text(error))
    except Exception as failure:
        log.warning("error_text failed", exc_info=failure)
        return default(error)
