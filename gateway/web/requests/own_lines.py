"""The header lines that differ from read to read although the answer is the same.

Proxies add an `X-Request-Id` to each request, and browsers revalidate with `If-None-Match`. These
two lines are called a read's own lines, and a read is looked up without them.
"""

from __future__ import annotations

import re

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.runtime.request_fields import OWN_LINES, RequestFields

_ID, _TAG = (f"\r\n{name}: ".lower().encode() for name in OWN_LINES)
# Values that aiohttp's parser would return unchanged.
_ID_VALUE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_TAG_VALUE = re.compile(rb"[!-~]{1,256}")


class OwnLines(msgspec.Struct, frozen=True, gc=False):
    """The values of both lines; None stands for a line that is missing."""

    id: str | None
    tag: str | None


class ParedRead(msgspec.Struct, frozen=True, gc=False):
    """A read's head, or the block of its fields, split into its own lines and the rest."""

    rest: bytes
    own: OwnLines


NOTHING = OwnLines(None, None)


def pared_read(head: bytes) -> ParedRead | None:
    """Split a read's head, or the block of its fields, into its own lines and the rest.

    Return None if it has no own lines, or one of them twice or in another form, or if the head is
    not whole, or more comes behind it. A block begins and ends with a line end.
    """
    lower = head.lower()
    its_id, its_tag = lower.find(_ID), lower.find(_TAG)
    if its_id < 0 and its_tag < 0:
        return None
    if 0 <= head.find(b"\r\n\r\n") < len(head) - 4:
        return None  # a match might be in the next request
    values: list[str | None] = [None, None]
    # The later line is removed first, so that the position of the other stays right.
    for which in (0, 1) if its_id > its_tag else (1, 0):
        at, name, form = ((its_id, _ID, _ID_VALUE), (its_tag, _TAG, _TAG_VALUE))[which]
        if at < 0:
            continue
        begin, end = at + len(name), head.find(b"\r\n", at + 2)
        if end < 0:
            return None  # the line is not complete, and so neither is the head
        value = head[begin:end]
        if form.fullmatch(value) is None or head[end + 2 : end + 3] in {b" ", b"\t"}:
            return None
        if lower.find(name[:-2], begin) >= 0:
            return None
        values[which] = value.decode()
        head = head[:at] + head[end:]
    return ParedRead(head, OwnLines(*values))


def without_own(fields: RequestFields, own: OwnLines) -> RequestFields | None:
    """Return a read's fields without its own lines; None if one is there twice or differs."""
    rest = CIMultiDict(fields.headers)
    for name, value in zip(OWN_LINES, (own.id, own.tag), strict=True):
        if len(rest.getall(name, ())) != (value is not None):
            return None
        rest.popall(name, None)
    return RequestFields(CIMultiDictProxy(rest), are_known=True, client=fields.client)
