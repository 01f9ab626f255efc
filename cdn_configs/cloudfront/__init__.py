"""CloudFront: policies, a distribution, and the function that decides who shares."""

from __future__ import annotations

from cdn_configs.target import Target

_DOES = (
    "Stores whole chunks, and data by long-poll, for as long as the gateway says.",
    "Makes equal requests for them one, as far as CloudFront documents it.",
    "Gives SSE, HEAD and readers with credentials a key of their own: they share nothing.",
    "Knows a question in whatever order its query is.",
)
_DOES_NOT = (
    "Store or share anything of readers with credentials: their requests pass.",
    "Keep a 204 or the tail: CloudFront reads no header for edges only, and Cache-Control says "
    "that browsers must not keep them. Idle long-polls all reach the gateway.",
    "Make SSE reads one request.",
)
_NO_PER_CREDENTIAL = "CloudFront stores nothing that is private"
_LONGEST_POLL_S = 75
_LONGEST_POLL_REASON = "CloudFront waits 120 s for an origin, of which 45 s are to spare"
_LONGEST_HEARTBEAT_S = 30
_LONGEST_HEARTBEAT_REASON = "its time-out for a silent origin may be as short as 46 s here"

TARGETS = (
    Target(
        name="cloudfront",
        title="CloudFront (policies and distribution)",
        folder="cloudfront",
        template="distribution.json.j2",
        file_name="cloudfront.json",
        comment="json",
        does=_DOES,
        does_not=_DOES_NOT,
        is_elsewhere=True,
        abilities=frozenset({"caches", "sorts-query", "conditional", "purges"}),
        no_per_credential=_NO_PER_CREDENTIAL,
        longest_poll_s=_LONGEST_POLL_S,
        longest_poll_reason=_LONGEST_POLL_REASON,
        longest_heartbeat_s=_LONGEST_HEARTBEAT_S,
        longest_heartbeat_reason=_LONGEST_HEARTBEAT_REASON,
        checked="Compared with the service model that AWS publishes. It was not run at AWS",
        beside=("cloudfront-function",),
    ),
    Target(
        name="cloudfront-function",
        title="CloudFront (function)",
        folder="cloudfront",
        template="function.js.j2",
        file_name="cloudfront-function.js",
        comment="//",
        does=_DOES,
        does_not=_DOES_NOT,
        abilities=frozenset({"sorts-query"}),
        no_per_credential=_NO_PER_CREDENTIAL,
        longest_poll_s=_LONGEST_POLL_S,
        longest_poll_reason=_LONGEST_POLL_REASON,
        longest_heartbeat_s=_LONGEST_HEARTBEAT_S,
        longest_heartbeat_reason=_LONGEST_HEARTBEAT_REASON,
        checked="Run in Node.js, in a context without any global of Node's, on events as "
        "CloudFront makes them. It was not run at AWS",
        checker=("node", "--check", "{file}"),
    ),
)
