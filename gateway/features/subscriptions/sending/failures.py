"""Failures of calls to receivers, as sentences that say what was wrong, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.outbound.failures import NoResponse
    from gateway.telemetry.outbound import FailureKind

UNREACHABLE = "connection_refused"  # the category of a failure that has no other one
_MOVED = "give the URL that it redirects to: redirects are not followed"
_MISSED = "correct the path in the webhook's URL, or let it take POST there"
# What to do about statuses. The response itself may say more, and is not shown: whoever subscribes
# could read what any server says.
_REFUSED = {
    **dict.fromkeys((301, 302, 303, 307, 308), _MOVED),
    **dict.fromkeys((401, 403), "see in its log why it refuses the request"),
    **dict.fromkeys((404, 405), _MISSED),
}
_ADVICE: dict[FailureKind, str] = {
    "broken": "see its log",
    "certificate": "give it a valid certificate for its host name, with the whole chain",
    "invalid": "check what listens at the webhook's URL",
    "name": "correct the host name in the webhook's URL, or its records in DNS",
    "timeout": "answer at once, and work behind the answer",
    "tls": "serve TLS 1.2 or newer at the port of the webhook's URL",
    "too_long": "answer with a status and a short body",
    "unreachable": "start it, or correct the host and port in the webhook's URL",
}
_CATEGORIES: dict[FailureKind, str] = {
    "certificate": "tls_error",
    "timeout": "timeout",
    "tls": "tls_error",
}


class DeliveryFailed(Exception):
    """A call that came to nothing; `detail` has nothing of the response or of the URL's path.

    `category` is the kind of failure as MCP Events names it.
    """

    def __init__(self, detail: str, category: str = UNREACHABLE) -> None:
        super().__init__(detail)
        self.detail = detail
        self.category = category


def refusal_of(status: int) -> str:
    """Return the reason of a failure where a receiver answers with a status that is not 2xx."""
    return f"the receiver answered {status}; {_REFUSED.get(status, 'see its log')}"


def failure_of(failure: NoResponse) -> DeliveryFailed:
    """Return the failure of a delivery whose call got no response, with what to do about it."""
    if failure.kind == "refused":
        return DeliveryFailed(failure.why)
    category = _CATEGORIES.get(failure.kind, UNREACHABLE)
    return DeliveryFailed(f"the receiver {failure.why}; {_ADVICE[failure.kind]}", category)
