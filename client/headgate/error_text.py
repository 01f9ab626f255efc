"""What readers are told of an error: a text that is short, and that UTF-8 can carry."""

from __future__ import annotations

MOST_CHARACTERS = 1000  # a few sentences; a message may hold all of what a model was asked


def sendable(words: str) -> str:
    """The words, cut to their bound; a question mark for each half of a surrogate pair."""
    return words[:MOST_CHARACTERS].encode(errors="replace").decode()
