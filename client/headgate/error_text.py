"""What readers are told of an error: a text that is short, and that UTF-8 can carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

MOST_CHARACTERS = 1000  # a few sentences; a message may hold all of what a model was asked


def sendable(words: str) -> str:
    """The words, cut to their bound; a question mark for each half of a surrogate pair."""
    return words[:MOST_CHARACTERS].encode(errors="replace").decode()


def told(
    error: Exception,
    error_text: Callable[[Exception], str],
    default: Callable[[Exception], str],
    log: logging.Logger,
) -> str:
    """What an application's `error_text` makes of an error; the default where that itself fails."""
    try:
        return sendable(error_text(error))
    except Exception as failure:
        log.warning("error_text failed", exc_info=failure)
        return default(error)
