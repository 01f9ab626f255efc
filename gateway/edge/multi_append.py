"""The check that an HTTP origin knows multi-appends: others would store the lengths as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.followed.origin_reads import PASSING
from gateway.edge.rules.directives import again_s
from gateway.errors import NotOffered, OriginBusy
from gateway.protocol.bodies.multi_append import is_multi
from gateway.protocol.http.header_names import MULTI

if TYPE_CHECKING:
    from multidict import CIMultiDict, MultiMapping

    from gateway.errors import HeadgateError
    from gateway.origin.answer import OriginAnswer
    from gateway.origin.client import Origin

SAYING = frozenset({"HEAD", "POST", "PUT"})  # methods whose responses say whether the origin does
# Statuses of the HEAD that settle nothing: a client that may only write has learned elsewhere that
# the origin knows multi-appends, and for any other client the origin refuses the append, too.
MAY_NOT_ASK = frozenset({401, 403, 404})
UNKNOWN = f"the origin does not know multi-appends: append each message by itself, without {MULTI}"
UNSAID = (
    "the origin does not say whether it knows multi-appends: append each message by itself, "
    f"without {MULTI}"
)


class MultiAppendSupport:
    """An origin's latest word on whether it knows multi-appends, asked for before the first one."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.is_known = False

    def note_response(self, method: str, answer: OriginAnswer) -> None:
        """Note what a response says of multi-appends."""
        if method in SAYING and answer.status < 300:
            self.is_known = offers(answer.headers)

    async def check(self, method: str, target: str, fields: CIMultiDict[str]) -> None:
        """Raise an error if the request is a multi-append and the origin may not know those.

        The error is one of `_refusal`, or BadRequest if the request's field is not a single `true`.
        """
        if method != "POST" or not is_multi(fields) or self.is_known:
            return
        head_fields = fields.copy()
        head_fields.pop("Content-Length", None)
        answer = await self._origin.send("HEAD", target, head_fields)
        answer.release()
        self.note_response("HEAD", answer)
        if not self.is_known and answer.status not in MAY_NOT_ASK:
            raise _refusal(answer)


def offers(headers: MultiMapping[str]) -> bool:
    """Return whether a response with these headers says that its origin knows multi-appends."""
    return headers.get(MULTI, "").lower() == "true"


def _refusal(answer: OriginAnswer) -> HeadgateError:
    """Return OriginBusy if the question may be repeated, NotOffered if that is of no use."""
    status = answer.status
    if status < 300:
        return NotOffered(UNKNOWN)
    if status != 501 and (status >= 500 or status in PASSING):
        says = f"the origin answers {status} to the HEAD by which it is asked for multi-appends"
        return OriginBusy(says, again_s(answer.headers))
    return NotOffered(UNSAID)
