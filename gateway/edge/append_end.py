"""Where a stream ends after an append, where the origin's answer to it does not say."""

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
    """The field that tells it, asked for with the append's credentials; none if it is not told.

    The append was made, whatever comes of the question.
    """
    with contextlib.suppress(HeadgateError):
        fields = forwarding.end_to_end(sent, forwarding.OF_APPENDS)
        head = await origin.send("HEAD", target, fields)
        head.release()
        if head.status == HTTPStatus.OK and (end := head.headers.get(NEXT_OFFSET)):
            return {NEXT_OFFSET: end}
    return {}
