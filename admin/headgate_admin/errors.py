"""Errors of the console, as its clients see them."""

from __future__ import annotations

from http import HTTPStatus

from headgate_gateway import errors
from headgate_gateway.protocol import responses

# Codes of docs/http.md#errors that are other words than the phrase of their status.
_CODES = {
    400: errors.BadRequest.code,
    401: errors.Unauthenticated.code,
    413: errors.BodyTooLarge.code,
    415: errors.CodingNotSupported.code,
    429: errors.ClientLimitReached.code,
    500: "internal_error",
}


class ConsoleError(Exception):
    """A request to the console has failed: with an HTTP `status`, and a `reason` in a sentence."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


def problem_document(status: int, detail: str) -> bytes:
    """Return a problem document (RFC 9457), whose code says no more than the status."""
    code = _CODES.get(status) or phrase(status).lower().replace(" ", "_")
    return responses.problem_document(status, code, detail)


def shown_status(status: int) -> int:
    """Return the status for the console's users of a refusal by the listener for streams.

    401 would ask them who they are, and not the console.
    """
    return HTTPStatus.FORBIDDEN if status == HTTPStatus.UNAUTHORIZED else status


def phrase(status: int) -> str:
    """Return the phrase of a status; an origin may respond with one that HTTP does not define."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown status"
