"""Facts that every vendor's configuration has: lifetimes, times, and what the gateway reads."""

from __future__ import annotations

import msgspec

from cdn_configs.upstreams import CONNECT_S
from gateway.protocol.cache_headers import Freshness
from gateway.protocol.http.forwarding import READER_COOKIE
from gateway.protocol.streams.offsets import INTERVAL_S

# Of an answer without news: long enough that a crowd is answered by one, and no longer.
MOMENT_S = Freshness().tail_max_age
# Of data by long-poll: the cursor of whoever got it has moved on by then.
POLL_DATA_S = INTERVAL_S
# Of SSE at edges that give one answer to many: how much later than the first others may join.
SSE_JOIN_S = 2

# Of history, if a shorter one would gain nothing.
COMPRESSED_TYPES = (
    *("text/plain", "text/csv", "text/html", "text/markdown"),
    *("application/json", "application/x-ndjson", "application/ndjson"),
)
LEAST_COMPRESSED = 1024  # bytes

# While the gateway is away: when to come back, at random between these, and how long a request for
# events is held where an edge can hold it. A restart takes seconds, a deployment half a minute.
AGAIN_S = 1
AGAIN_MOST_S = 3
HOLD_S = 30

# Of a query, all that means something to the streams of an own log (gateway.protocol.requests).
PARAMETERS = ("offset", "live", "cursor", "view", "batch_ms", "lastEventId", "rk", "token")
# The beginning of a path as the gateway itself spells it, as a regular expression. To the gateway,
# %61 is a, and %2f is %2F: a path in another spelling may be of another stream than it seems, or of
# another route.
USUAL_PATH = (
    "^(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]"
    "|%(?!2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])[0-9A-F][0-9A-F])*"
)


class Rules(msgspec.Struct, frozen=True):
    """The facts as templates see them; times are in seconds.

    The gateway's own streams know readers by no other cookie than `reader_cookie`.
    """

    moment_s: int = MOMENT_S
    poll_data_s: int = POLL_DATA_S
    sse_join_s: int = SSE_JOIN_S
    compressed_types: tuple[str, ...] = COMPRESSED_TYPES
    least_compressed: int = LEAST_COMPRESSED
    connect_s: int = CONNECT_S
    again_s: int = AGAIN_S
    again_most_s: int = AGAIN_MOST_S
    hold_s: int = HOLD_S
    parameters: tuple[str, ...] = PARAMETERS
    usual_path: str = USUAL_PATH
    reader_cookie: str = READER_COOKIE

    @property
    def unhealthy_s(self) -> int:
        """Seconds after which a gateway is left out: two checks that get no answer, 1 s apart."""
        return 2 * (self.connect_s + 1)

    @property
    def compressed(self) -> str:
        """A regular expression of the values of Content-Type that are compressed."""
        return f"^(?:{'|'.join(self.compressed_types)}) *(?:;|$)"


RULES = Rules()
