"""CloudFront: policies, a distribution, and the function that decides who shares."""

from __future__ import annotations

import msgspec

from headgate_cdn.target import Target

_DISTRIBUTION = Target(
    name="cloudfront",
    title="CloudFront (policies and distribution)",
    folder="cloudfront",
    template="distribution.json.j2",
    file_name="cloudfront.json",
    comment="json",
    does=(
        "It stores whole chunks, and data by long-poll, for as long as the gateway says.",
        "It makes equal requests for them one, as far as CloudFront documents it.",
        "It gives SSE, HEAD and readers with credentials a key of their own: they share nothing.",
        "The order of the query parameters makes no difference.",
        "It drops the copies of a stream, or of a route, by their tags, when the gateway says so.",
        "With --shield, one of its regions asks the gateway for all others (Origin Shield).",
    ),
    does_not=(
        "It stores and shares nothing of readers with credentials: their requests pass.",
        "It does not keep a 204 or the tail: CloudFront reads no header for edges only, and "
        "Cache-Control says that browsers must not keep them. Idle long-polls all reach the "
        "gateway. tail_directive = max-age=0 on the route lets it keep both for a second, by its "
        "documentation; that was not tried.",
        "It shares no SSE: each such reader has a connection to the gateway.",
    ),
    is_elsewhere=True,
    abilities=frozenset({"caches", "sorts-query", "conditional", "purges"}),
    why_not={
        "reader-key": "CloudFront sends credentials on only where they are in its key",
        "per-credential": "CloudFront stores nothing that is private",
    },
    shield=r"[a-z]{2}(-[a-z]+)+-[0-9]",
    shield_words="a region of AWS such as eu-central-1",
    no_upstream_ca="it trusts the public authorities, and verifies the name in --upstream",
    longest_poll_s=75,
    longest_poll_reason="CloudFront waits 120 s for an origin, of which 45 s are to spare",
    longest_heartbeat_s=30,
    longest_heartbeat_reason="its time-out for a silent origin may be as short as 46 s here",
    checked="Compared with the service model that AWS publishes. It was not tried at AWS",
    beside=("cloudfront-function",),
)
_FUNCTION = msgspec.structs.replace(
    _DISTRIBUTION,
    name="cloudfront-function",
    title="CloudFront (function)",
    template="function.js.j2",
    file_name="cloudfront-function.js",
    comment="//",
    clears_forwarded="delete request.headers.forwarded;",
    abilities=frozenset({"sorts-query"}),
    checked="Run in Node.js, in a context without any global of Node's, on events as CloudFront "
    "makes them. It was not tried at AWS",
    checker=("node", "--check", "{file}"),
    beside=(),
)
TARGETS = (_DISTRIBUTION, _FUNCTION)
