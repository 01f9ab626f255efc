"""Cloudflare without code: rules of the Rulesets API, on every plan."""

from __future__ import annotations

from headgate_cdn.target import Target

TARGETS = (
    Target(
        name="cloudflare-rules",
        title="Cloudflare (rules)",
        folder="cloudflare_rules",
        template="rules.json.j2",
        file_name="cloudflare-rules.json",
        comment="json",
        does=(
            "It stores whole chunks for as long as the gateway says, and serves them stale while "
            "it fetches new ones.",
            "It keeps what has no news for one second, at the edge only.",
            "The order of the query parameters makes no difference.",
            "It passes SSE and appends on without a buffer.",
            "It asks the gateway from one data centre, which others ask (Tiered Cache).",
            "It needs no code and no paid plan: six rules at most.",
        ),
        does_not=(
            "It stores nothing of readers with credentials: their requests pass.",
            "It does not promise that equal long-polls become one request: Cloudflare documents it "
            "for what can be stored, and it was not tried. The Worker does.",
            "It shares no SSE: each such reader has a connection to the gateway.",
            "It does not keep the answers for one web site apart from those for another, which "
            "differ where http.cors_origins is a list: it does not look at Vary. The Worker does.",
        ),
        is_elsewhere=True,
        keeps_sites_apart=False,
        abilities=frozenset({"caches", "sorts-query", "stale", "conditional", "purges"}),
        why_not={"per-credential": "only the Enterprise plan takes a header into the cache key"},
        no_upstream_ca="it trusts the public authorities and Cloudflare's Origin CA, and verifies "
        "the host name that readers use",
        longest_poll_s=55,
        longest_poll_reason="Cloudflare waits 100 s for an origin, of which 45 s are to spare",
        longest_heartbeat_s=45,
        longest_heartbeat_reason="Cloudflare ends an answer that is without a byte for 100 s",
        checked="Compared with the types that Cloudflare publishes for the Rulesets API. The rules "
        "were not tried at Cloudflare",
    ),
)
