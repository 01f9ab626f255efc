"""Facts that every vendor's configuration has: lifetimes, times, and what the gateway reads."""

from __future__ import annotations

import msgspec

from headgate_cdn.upstreams import CONNECT_S
from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from headgate_gateway.protocol.http.nginx_lifetimes import STORED_BY, StoredBy


class Rules(msgspec.Struct, frozen=True):
    """The facts as templates see them; times are in seconds.

    Those that the gateway has, too, are compared with it by tests/cdn_configs/test_rules.py.
    """

    # Of an answer without news: long enough that a crowd is answered by one, and no longer.
    moment_s: int = 1
    # Of data by long-poll: the cursor of whoever got it has moved on by then.
    poll_data_s: int = 20
    # Of SSE at edges that give one answer to many: how much later than the first others may join.
    sse_join_s: int = 2

    # Of history, if a shorter one would gain nothing.
    compressed_types: tuple[str, ...] = (
        *("text/plain", "text/csv", "text/html", "text/markdown"),
        *("application/json", "application/x-ndjson", "application/ndjson"),
    )
    least_compressed: int = 1024  # bytes

    # While the gateway is away: when to come back, at random between these, and how long a request
    # for events is held where an edge can hold it. A restart takes seconds, a deployment half a
    # minute.
    again_s: int = 1
    again_most_s: int = 3
    hold_s: int = 30
    connect_s: int = CONNECT_S
    # For which a reader waits for the probe of a gateway that has hung; with two gateways it still
    # gets a stale copy or an error within a second.
    probe_ms: int = 400

    # Of a query, all that means something to the streams of an own log:
    # headgate_gateway.protocol.requests.
    parameters: tuple[str, ...] = (
        *("offset", "live", "cursor", "view", "lastEventId", "rk", "token"),
    )
    # The beginning of a path as the gateway itself spells it, as a regular expression. To the
    # gateway, %61 is a, and %2f is %2F: a path in another spelling may be of another stream than it
    # seems, or of another route.
    usual_path: str = (
        "^(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]"
        "|%(?!2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])[0-9A-F][0-9A-F])*"
    )
    # The one cookie by which the gateway's own streams know readers.
    reader_cookie: str = "__Secure-headgate"

    # The rows by which the gateway computes the rest of a lifetime for nginx.
    nginx_rows: tuple[StoredBy, ...] = STORED_BY
    nginx_field: str = NGINX_FIELD

    @property
    def unhealthy_s(self) -> int:
        """Seconds after which a gateway is left out: two checks that get no answer, 1 s apart."""
        return 2 * (self.connect_s + 1)

    def events_s(self, answer_s: int, heartbeat_s: int) -> int:
        """Return the seconds in which a response or a heartbeat of SSE is due, and 2 s to spare."""
        return max(answer_s, heartbeat_s) + 2

    @property
    def compressed(self) -> str:
        """A regular expression of the values of Content-Type that are compressed."""
        return f"^(?:{'|'.join(self.compressed_types)}) *(?:;|$)"


RULES = Rules()
