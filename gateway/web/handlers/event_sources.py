"""Keep an EventSource reconnecting, which a temporary error status would close for good."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from gateway.protocol.bodies.content import EVENTS_TYPE
from gateway.protocol.responses import event_stream_later
from gateway.protocol.views import AS_EVENTS
from gateway.runtime.answer import RouteAnswer

if TYPE_CHECKING:
    from gateway.web.requests.request import Request

# Statuses that may change soon: a limit, an origin that is down or slow, a server that stops.
PASSING = frozenset({429, 502, 503, 504})
MOST_WAIT_S = 10  # an EventSource uses the time for all later reconnects, too
USUAL_WAIT_S = 2
SPREAD_MS = 1000

_FOLLOWS = re.compile(rf"[?&](?:live=sse|view=(?:{'|'.join(AS_EVENTS)}))(?:&|$)")


def is_event_source(request: Request) -> bool:
    """Return whether a request is an EventSource's for SSE.

    By the HTML standard each EventSource sends both fields. A client that sets only Accept, and
    looks at the status, gets the status.
    """
    if request.method != "GET" or _FOLLOWS.search(request.target) is None:
        return False
    accept, caching = (request.headers.get(name, "") for name in ("Accept", "Cache-Control"))
    return EVENTS_TYPE in accept and "no-cache" in caching


def retry_stream(refused: RouteAnswer, status: int) -> RouteAnswer:
    """Return an event stream that only says when to reconnect, instead of a refusal."""
    if not isinstance(refused.body, bytes):
        refused.body.release()
    again_s = refused.facts.again_s
    wait_s = USUAL_WAIT_S if again_s is None else min(again_s, MOST_WAIT_S)
    # No sooner than Retry-After says, and a herd of readers does not come back as one.
    wait_ms = wait_s * 1000 + random.randrange(SPREAD_MS)  # noqa: S311 - not a secret
    return RouteAnswer.of(event_stream_later(status, wait_ms), refused.cache)
