"""Claims whose workers have got no response: their leases are given back at once.

Otherwise the events would wait for the end of a lease that nobody has.
"""

from __future__ import annotations

import msgspec

from gateway.subscriptions.shared import mail

CLAIM, RELEASE = "/claim", "/release"


class _GrantedClaim(msgspec.Struct):
    """The members of the response to a claim that its release repeats."""

    wake_id: str
    generation: int
    token: str


_decode = msgspec.json.Decoder(_GrantedClaim).decode


def is_claim(handed: mail.HandedOnRequest) -> bool:
    """Return whether a request is that of a worker that claims."""
    return handed.name.endswith(CLAIM)


def release_of(
    handed: mail.HandedOnRequest, back: mail.HandedOnResponse
) -> mail.HandedOnRequest | None:
    """Return the release of what a claim was granted; None if it was granted nothing."""
    if back.status != 200 or not is_claim(handed):
        return None
    claimed = _decode(back.body)
    body = msgspec.json.encode({"wake_id": claimed.wake_id, "generation": claimed.generation})
    name = handed.name.removesuffix(CLAIM) + RELEASE
    lines = [("Authorization", f"Bearer {claimed.token}")]
    return mail.HandedOnRequest("POST", name, "", lines, body)
