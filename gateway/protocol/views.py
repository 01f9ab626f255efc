"""Views: the forms in which a stream of an own log is read, named in the query of a GET.

They are an extension of the protocol (section 11): without their parameters nothing changes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

RAW = "raw"
COMPACT = "compact"
# Rendered in the dialects of clients: these reads are live, and end with the stream.
SSE, AI_SDK, AG_UI, TEXT = "sse", "ai-sdk", "ag-ui", "text"
AS_EVENTS = (SSE, AI_SDK, AG_UI)
RENDERED = (*AS_EVENTS, TEXT)
NAMES = (RAW, COMPACT, *RENDERED)
# The last character of the id of the events after the last message of a closed stream: a reader
# that has them has everything. The id sorts after the offset in it.
END_MARK = "~"
# Few, so that readers of a stream share few feeds: each feed renders its rounds by itself.
BATCHES_MS = (0, 10, 20, 50, 100, 200, 500)
_NUMBER = re.compile(r"[0-9]{1,4}")


class View(NamedTuple):
    """A form of reading: its name, and the time for which a live read gathers news.

    A view `is_folded` if neighbouring deltas of one part are joined, and `is_rendered` if the
    stream is read in the dialect of a client.
    """

    name: str = RAW
    batch_ms: int = 0
    is_folded: bool = False
    is_rendered: bool = False

    def in_query(self, query: str) -> str:
        """Return a canonical query with the parameters of this view added."""
        batch = f"batch_ms={self.batch_ms}&" if self.batch_ms else ""
        return f"{batch}{query}" + ("" if self.name == RAW else f"&view={self.name}")


PLAIN = View()


def view_of(name: str, batch_ms: int = 0) -> View:
    """Return the view with a name."""
    return View(name, batch_ms, name == COMPACT, name in RENDERED)


def parse_view(query: Mapping[str, str], *, is_live: bool) -> View:
    """Return the view that a query names. Raises BadRequest.

    `batch_ms` makes a raw view compact, in catch-up reads as well, though only live reads wait.
    """
    if "view" not in query and "batch_ms" not in query:
        return PLAIN
    name = query.get("view", RAW)
    if name not in NAMES:
        raise BadRequest(f"view must be one of {', '.join(NAMES)}")
    batch = query.get("batch_ms", "0")
    batch_ms = int(batch) if _NUMBER.fullmatch(batch) else -1
    if batch_ms not in BATCHES_MS:
        raise BadRequest(f"batch_ms must be one of {', '.join(map(str, BATCHES_MS))}")
    if batch_ms and name == RAW:
        name = COMPACT
    if name not in RENDERED:
        return view_of(name, batch_ms if is_live else 0)
    if query.get("live", "sse") != "sse":
        raise BadRequest(f"view={name} is live as live=sse is: leave live out")
    return view_of(name, batch_ms)
