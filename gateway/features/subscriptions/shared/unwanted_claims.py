"""Claims whose workers have got no response: their leases are given back at once.

Otherwise the events would wait for the end of a lease that nobody has.
"""

from __future__ import annotations

import msgspec

from gateway.features.subscriptions.shared import mail

_CLAIM, _RELEASE = "claim", "release"


class _GrantedClaim(msgspec.Struct):
    """The members of the response to a claim that its release repeats."""

    wake_id: str
    generation: int
    token: str


_decode = msgspec.json.Decoder(_GrantedClaim).decode


def is_claim(name: str) -> bool:
    """Return whether a control path, such as `__ds/subscriptions/ID/claim`, is that of a claim."""
    return name.split("/")[3:] == [_CLAIM]


def release_of(
    handed: mail.HandedOnRequest, back: mail.HandedOnResponse
) -> mail.HandedOnRequest | None:
    """Return the release of what a claim was granted; None if it was granted nothing."""
    if back.status != 200 or not is_claim(handed.name):
        return None
    claimed = _decode(back.body)
    body = msgspec.json.encode({"wake_id": claimed.wake_id, "generation": claimed.generation})
    name = handed.name.removesuffix(_CLAIM) + _RELEASE
    lines = [("Authorization", f"Bearer {claimed.token}")]
    return mail.HandedOnRequest("POST", name, "", lines, body)
