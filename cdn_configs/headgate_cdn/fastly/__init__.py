"""Fastly: VCL for a Deliver service."""

from __future__ import annotations

from headgate_cdn.target import Target

TARGETS = (
    Target(
        name="fastly",
        title="Fastly (VCL)",
        folder="fastly",
        template="headgate.vcl.j2",
        file_name="headgate.vcl",
        comment="#",
        clears_forwarded="unset req.http.Forwarded;",
        does=(
            "It stores whole chunks for as long as the gateway says, and serves them stale while "
            "it fetches new ones.",
            "It makes equal long-polls one request, ended by data or by a 204.",
            "It makes SSE reads that come within two seconds of each other one request, and passes "
            "each event on as it comes.",
            "The order of the query parameters makes no difference.",
            "It compresses history that everybody may read, with gzip or Brotli.",
            "With --shield, one of its places asks the gateway for all others.",
            "It asks for a key before it purges; surrogate keys purge a stream at once.",
            "While the gateway is away it tells each EventSource to ask again.",
        ),
        does_not=(
            "It stores and shares nothing of readers with credentials: their requests pass.",
            "It holds no long-polls of more than 50 s.",
            "It joins no SSE readers who come more than two seconds later, or beyond 20 MB of one "
            "answer.",
        ),
        is_elsewhere=True,
        abilities=frozenset(
            {
                *("caches", "collapses", "collapses-sse", "sorts-query"),
                *("stale", "conditional", "purges", "compresses"),
            }
        ),
        credentials=("bypass", "reader-key"),
        why_not={
            "asked": "its restarts could not be tried, and a mistake hands private data to anybody",
            "verified": "its VCL verifies RSA and ECDSA, and not Ed25519",
            "per-credential": "whether its queue of equal requests keeps two readers apart could "
            "not be tried, and a mistake hands one reader's data to another",
        },
        shield=r"[a-z]+(-[a-z0-9]+)+",
        shield_words="a shield of Fastly such as frankfurt-de",
        no_upstream_ca="the file trusts the public authorities, and the name in --upstream",
        longest_poll_s=50,
        longest_poll_reason="between nodes of a cluster Fastly waits 60 s for the first byte",
        longest_heartbeat_s=25,
        longest_heartbeat_reason="after 60 s without a byte Fastly takes what came for a whole "
        "answer, and stores it",
        no_stale_if_error="",
        checked="Linted with falco, without errors or warnings; its rules run, translated, in "
        "Varnish, with all readers of the suite. It was not tried at Fastly",
        checker=("falco", "lint", "-vv", "{file}"),
    ),
)
