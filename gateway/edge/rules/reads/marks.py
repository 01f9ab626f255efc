"""Three rules for an origin's response to a read: its ETag, its cursor and its CORS fields.

`gateway.edge.rules.reads` has the list of all rules, which run before a response is cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.rules.reads.rule import ReadRule
from gateway.protocol.cursors import current_cursor
from gateway.protocol.http.header_names import CURSOR
from gateway.protocol.origins.repair import repaired_tag
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from gateway.edge.rules.reads.rule import ReadResponse


def _repair_tag(response: ReadResponse) -> bool:
    """Repair a malformed tag; return True also if it is missing, and is added to the whole body."""
    fields = response.fields
    if response.request.read.offset == NOW:
        return False
    received = fields.get("ETag")
    if received is None:
        return True
    tag = repaired_tag(received, response.facts)
    if "Content-Encoding" in fields and not tag.startswith("W/"):
        tag = f"W/{tag}"  # the bytes differ from those of the same range in another coding
    if tag == received:
        return False
    fields["ETag"] = tag
    return True


def _set_cursor(response: ReadResponse) -> bool:
    """Replace the cursor by ours, which is equal for all readers; return True if there was none."""
    lacks = CURSOR not in response.fields and not response.facts.closed
    response.fields.popall(CURSOR, None)
    if not response.facts.closed:
        response.fields[CURSOR] = str(current_cursor(response.answered))
    return lacks


def _note_cors(response: ReadResponse) -> bool:
    """Return whether the response lacks CORS fields, which are added whenever it is sent."""
    return "Access-Control-Allow-Origin" not in response.fields


TAG = ReadRule("etag", _repair_tag)
OUR_CURSOR = ReadRule("cursor", _set_cursor)
CORS = ReadRule("cors", _note_cors)
