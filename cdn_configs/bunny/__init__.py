"""Bunny: a pull zone and its edge rules."""

from __future__ import annotations

from cdn_configs.target import Target

_KNOWN_TO_WAIT = "60 s is the longest that Bunny is known to wait for a byte"

TARGETS = (
    Target(
        name="bunny",
        title="Bunny",
        folder="bunny",
        template="pull-zone.json.j2",
        file_name="bunny.json",
        comment="json",
        does=(
            "Stores whole chunks for as long as the gateway says.",
            "Makes equal reads of anonymous readers one request, long-polls and SSE too, whose "
            "bytes go to all as they come.",
            "Knows a question in whatever order its query is.",
        ),
        does_not=(
            "Store or share anything of readers with credentials: their requests pass.",
            "Serve anything stale: Bunny does it to all answers or to none, and a stale tail hides "
            "appends.",
            "Hold long-polls of more than 50 s.",
        ),
        is_elsewhere=True,
        abilities=frozenset({"caches", "collapses", "collapses-sse", "sorts-query", "purges"}),
        no_per_credential="its cache key takes no header",
        longest_poll_s=50,
        longest_poll_reason=_KNOWN_TO_WAIT,
        longest_heartbeat_s=25,
        longest_heartbeat_reason=_KNOWN_TO_WAIT,
        checked="Compared with the published model of its API, which lacks the newest rules. It "
        "was not run at Bunny",
    ),
)
