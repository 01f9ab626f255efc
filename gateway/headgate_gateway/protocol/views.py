"""Views: the forms in which a stream of an own log is read, named in the query of a GET.

They are an extension of the protocol (section 11): without their parameters nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

RAW = "raw"
# Rendered in the dialects of clients: these reads are live, and end with the stream.
SSE, AI_SDK, AG_UI, TEXT = "sse", "ai-sdk", "ag-ui", "text"
AS_EVENTS = (SSE, AI_SDK, AG_UI)
RENDERED = (*AS_EVENTS, TEXT)
NAMES = (RAW, *RENDERED)
# The last character of the id of the events after the last message of a closed stream: a reader
# that has them has everything. The id sorts after the offset in it.
END_MARK = "~"


class View(NamedTuple):
    """A form of reading; in one that `is_rendered` the stream is in the dialect of a client."""

    name: str = RAW
    is_rendered: bool = False


PLAIN = View()


def view_of(name: str) -> View:
    """Return the view with a name."""
    return View(name, name in RENDERED)


def parse_view(query: Mapping[str, str]) -> View:
    """Return the view that a query names. Raises BadRequest."""
    name = query.get("view", RAW)
    if name == RAW:
        return PLAIN
    if name not in NAMES:
        raise BadRequest(f"view must be one of {', '.join(NAMES)}")
    if query.get("live", "sse") != "sse":
        raise BadRequest(f"view={name} is live as live=sse is: leave live out")
    return view_of(name)
