"""The offset behind an append, for origins whose response leaves it out."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.errors import HeadgateError
from gateway.protocol.http import forwarding
from gateway.protocol.http.header_names import NEXT_OFFSET

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.origin.client import Origin


async def end_of(origin: Origin, target: str, sent: MultiMapping[str]) -> dict[str, str]:
    """Return the header field with the offset of the stream's end, or none if it is unknown.

    The origin is asked by a HEAD with the append's credentials, from its fields `sent`. A failure
    is no error, since the append was made.
    """
    with contextlib.suppress(HeadgateError):
        fields = forwarding.end_to_end(sent, forwarding.OF_APPENDS)
        head = await origin.send("HEAD", target, fields)
        head.release()
        if head.status == HTTPStatus.OK and (end := head.headers.get(NEXT_OFFSET)):
            return {NEXT_OFFSET: end}
    return {}
