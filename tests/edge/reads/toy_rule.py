"""A rule for responses to reads that is all in this module: what it takes to add one."""

from __future__ import annotations

from headgate_gateway.errors import OriginBroken
from headgate_gateway.rules.read_rules import ReadResponse, ReadRule
from headgate_gateway.rules.repair import LIFETIMES


def _keep_drafts_out(response: ReadResponse) -> bool:
    """Keep drafts out of caches, and refuse those that are locked."""
    draft = response.fields.get("X-Draft")
    if draft == "locked":
        raise OriginBroken("the origin has sent a locked draft")
    if draft is None:
        return False
    for name in LIFETIMES:
        response.fields.popall(name, None)
    response.fields["Cache-Control"] = "no-store"
    return True


RULE = ReadRule("draft", _keep_drafts_out)
