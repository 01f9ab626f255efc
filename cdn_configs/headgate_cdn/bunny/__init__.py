"""Bunny: a pull zone and its edge rules."""

from __future__ import annotations

from headgate_cdn.target import Target

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
            "It stores whole chunks for as long as the gateway says.",
            "It makes equal reads of anonymous readers one request, long-polls too.",
            "The order of the query parameters makes no difference.",
            "With --shield, one of its places asks the gateway for all others.",
        ),
        does_not=(
            "It stores and shares no responses to readers with credentials. But they, too, get the "
            "copy of a response to an anonymous reader, if there is one: Bunny has no rule that "
            "bypasses its copies.",
            "It does not promise that a HEAD with an offset goes past a copy of the GET. One "
            "without does: nothing is stored under a URL without an offset.",
            "It serves nothing stale: Bunny does it to all answers or to none, and a stale tail "
            "hides appends.",
            "It does not keep the answers for one web site apart from those for another, which "
            "differ where http.cors_origins is a list.",
            "It does not store what reached the tail, nor a 204, while these say no-cache and "
            "no-store. tail_directive = max-age=0 on the route may let it; that was not tried.",
            "It shares no SSE: of two pages of Bunny's one says that those who join an equal "
            "request get its bytes as they come, and one that they get them at its end.",
            "It holds no long-polls of more than 50 s.",
        ),
        keeps_readers_apart=False,
        keeps_sites_apart=False,
        is_elsewhere=True,
        abilities=frozenset({"caches", "collapses", "sorts-query", "purges"}),
        why_not={"per-credential": "its cache key takes no header"},
        no_upstream_ca="it trusts the public authorities, and verifies the name in --upstream",
        shield="fr|il",
        shield_words="fr (Paris) or il (Chicago)",
        longest_poll_s=50,
        longest_poll_reason=_KNOWN_TO_WAIT,
        longest_heartbeat_s=25,
        longest_heartbeat_reason=_KNOWN_TO_WAIT,
        checked="Compared with the published model of its API, which lacks the newest rules. It "
        "was not tried at Bunny",
    ),
)
