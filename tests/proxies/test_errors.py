"""The errors of a proxy, in the form and with the codes of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway import errors
from headgate_gateway.features.proxies.responses import error_response
from headgate_gateway.protocol import responses

if TYPE_CHECKING:
    from headgate_gateway.errors import HeadgateError

# Those that no request of the other tests meets.
ERRORS: dict[str, tuple[HeadgateError, int, str]] = {
    "an upstream that breaks off": (errors.OriginBroken("said"), 502, "UPSTREAM_ERROR"),
    "a log that fails": (errors.LogUnavailable("said"), 502, "STORAGE_ERROR"),
    "a full log": (errors.LogFull("said"), 502, "STORAGE_ERROR"),
    "too many": (errors.LimitReached("said"), 503, "LIMIT_REACHED"),
}


@pytest.mark.parametrize(("error", "status", "code"), ERRORS.values(), ids=ERRORS)
def test_an_error_has_its_status_and_its_code(error: HeadgateError, status: int, code: str) -> None:
    response = error_response(error, responses.problem(error, 1))
    assert response.status == status
    assert msgspec.json.decode(response.body) == {"error": {"code": code, "message": "said"}}
    assert "Content-Type: application/json\r\n" in response.fields
    assert "Cache-Control: no-store\r\n" in response.fields


def test_an_error_that_passes_says_when_to_come_back_and_one_of_a_token_what_is_asked_for() -> None:
    limit, token = errors.LimitReached("said"), errors.Unauthenticated("said")
    assert "Retry-After: 3\r\n" in error_response(limit, responses.problem(limit, 3)).fields
    assert (
        "WWW-Authenticate: Bearer\r\n" in error_response(token, responses.problem(token, 3)).fields
    )
