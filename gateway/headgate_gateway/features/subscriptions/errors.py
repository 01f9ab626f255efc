"""Refusals of requests to subscriptions, by the codes that the reference server has."""

from __future__ import annotations

STATUS = {
    "ALREADY_CLAIMED": 409,
    "FENCED": 409,
    "INVALID_OFFSET": 409,
    "INVALID_REQUEST": 400,
    "LIMIT_REACHED": 429,
    "NO_PENDING_WORK": 409,
    "SUBSCRIPTION_ALREADY_EXISTS": 409,
    "SUBSCRIPTION_NOT_FOUND": 404,
    "TOKEN_EXPIRED": 401,
    "TOKEN_INVALID": 401,
    "WEBHOOK_URL_REJECTED": 400,
}


NO_PUBLIC_URL = (
    "webhooks need the setting http.public_url of this server: the URL at which receivers reach "
    "it, such as https://streams.example.com"
)


class SubscriptionRefused(Exception):
    """A request to a subscription that is refused; `members` are more members of its error."""

    def __init__(self, code: str, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.code = code
        self.status = STATUS[code]
        self.detail = detail
        self.members = members

    @property
    def document(self) -> dict[str, object]:
        """The body of the response."""
        return {"error": {"code": self.code, "message": self.detail, **self.members}}


def invalid(detail: str) -> SubscriptionRefused:
    """Return the refusal of a request that is malformed."""
    return SubscriptionRefused("INVALID_REQUEST", detail)


def invalid_offset(detail: str) -> SubscriptionRefused:
    """Return the refusal of an offset, or of a stream that is none of the subscription's."""
    return SubscriptionRefused("INVALID_OFFSET", detail)


def not_found() -> SubscriptionRefused:
    """Return the refusal of a request to a subscription that does not exist."""
    return SubscriptionRefused("SUBSCRIPTION_NOT_FOUND", "there is no subscription with this id")
