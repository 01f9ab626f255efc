"""Errors of the console, as its clients see them."""

from __future__ import annotations

from http import HTTPStatus


class NotTold(Exception):
    """There is no answer; `status` says why as HTTP does, `reason` in a sentence."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


def phrase(status: int) -> str:
    """Return the phrase of a status; an origin may respond with one that HTTP does not define."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown status"
