"""The lines of a read's head that are another one each time, though its answer is the same.

Proxies give each request an `X-Request-Id`, and browsers ask for what they have again with
`If-None-Match`. A read is looked up without these two lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.runtime.request_fields import RequestFields

OWN_LINES = ("X-Request-Id", "If-None-Match")
# Whole lines, with values that are taken as they are: the parser changes nothing of them.
_LINES = re.compile(
    rb"(?<=\r\n)(?:X-Request-Id: ([A-Za-z0-9._:/+=-]{1,128})|If-None-Match: ([!-~]{1,256}))"
    rb"\r\n(?![ \t])",
    re.IGNORECASE,
)


class OwnLines(NamedTuple):
    """The values of both lines, None where one is not there."""

    id: str | None
    tag: str | None


class ParedRead(NamedTuple):
    """The block of a read without its own lines, and these."""

    rest: bytes
    own: OwnLines


NOTHING = OwnLines(None, None)


def pared_read(block: bytes) -> ParedRead | None:
    """Return a read's block, which is between line ends, in parts; None where it has no own line.

    None, too, where one of them is there twice.
    """
    found: dict[int, str] = {}
    for line in _LINES.finditer(block):
        which = line.lastindex
        if which is None or which in found:
            return None
        found[which] = line[which].decode()
    if not found:
        return None
    return ParedRead(_LINES.sub(b"", block)[2:-2], OwnLines(found.get(1), found.get(2)))


def without_own(fields: RequestFields, own: OwnLines) -> RequestFields | None:
    """Return a read's fields without its own lines; None where one is there in another form."""
    rest = CIMultiDict(fields.headers)
    for name, value in zip(OWN_LINES, own, strict=True):
        if len(rest.getall(name, ())) != (value is not None):
            return None
        rest.popall(name, None)
    return RequestFields(CIMultiDictProxy(rest), are_known=True, admitted=fields.admitted)
