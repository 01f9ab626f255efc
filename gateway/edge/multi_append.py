"""Whether an HTTP origin knows multi-appends: one that does not would take lengths for data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import NotOffered
from gateway.protocol.header_names import MULTI

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from gateway.origin.client import Origin, OriginAnswer

SAYING = frozenset({"HEAD", "POST", "PUT"})  # to which an origin says whether it does
UNKNOWN = f"the origin does not know multi-appends: append each message by itself, without {MULTI}"


class MultiAppendOffer:
    """What an origin has said last of it; it is asked before the first multi-append."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._stands = False

    def heard(self, method: str, answer: OriginAnswer) -> None:
        """Note what an answer says."""
        if method in SAYING and answer.status < 300:
            self._stands = answer.headers.get(MULTI, "").lower() == "true"

    async def check(self, method: str, target: str, fields: CIMultiDict[str]) -> None:
        """Raise NotOffered where a request is a multi-append, and its lengths would become data.

        One whose writer may not ask what the stream is, by HEAD, is let through.
        """
        if method != "POST" or MULTI not in fields or self._stands:
            return
        asked = fields.copy()
        asked.pop("Content-Length", None)
        answer = await self._origin.send("HEAD", target, asked)
        answer.release()
        self.heard("HEAD", answer)
        if answer.status < 300 and not self._stands:
            raise NotOffered(UNKNOWN)
