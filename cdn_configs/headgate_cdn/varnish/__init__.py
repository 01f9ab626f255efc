"""Varnish, which is called Vinyl from version 9: a cache that collapses polls and SSE alike."""

from __future__ import annotations

from headgate_cdn.target import Target

TARGETS = (
    Target(
        name="varnish",
        title="Varnish 7 and Vinyl 9",
        folder="varnish",
        template="default.vcl.j2",
        file_name="headgate.vcl",
        comment="#",
        clears_forwarded="unset req.http.Forwarded;",
        does=(
            "Equal long-polls and equal catch-up reads become one request to the gateway.",
            "SSE readers who come within two seconds share one connection to the gateway.",
            "Lifetimes are those that the gateway says, for CDNs too; stale copies are served "
            "while a new one is fetched, for as long as the gateway allows.",
            "The order of the parameters makes no difference to the key.",
            "History that everybody may read is sent with gzip.",
            "A reader who has the answer already gets a 304 without the gateway.",
            "With purge, all copies of a stream are dropped by its tag.",
            "While the gateway is away it tells each EventSource to ask again.",
        ),
        does_not=(
            "It speaks no TLS, neither to readers nor to the gateway: proxies do that beside it.",
            "It does not end a shared SSE connection when its last reader is gone: that goes on "
            "until the gateway ends it (live.sse_max_age).",
            "It does not collapse polls whose answers are private, when they come without "
            "credentials: each waits for one poll, and then for its own.",
            "With per-credential, a reader's copy is served until its lifetime ends, also when "
            "the gateway or the origin would no longer let that reader in.",
        ),
        abilities=frozenset(
            {
                *("caches", "collapses", "collapses-sse", "sorts-query"),
                *("stale", "conditional", "purges", "compresses"),
            }
        ),
        needs_host=False,
        can_stand_alone=True,
        balances=True,
        credentials=("bypass", "per-credential", "reader-key", "asked"),
        why_not={"verified": "VCL verifies no signatures"},
        no_https="open-source Varnish has no TLS to gateways. Run a proxy on its machine that "
        "has, as its page says, and give that as --upstream http://127.0.0.1:PORT",
        state="run",
        no_stale_if_error="",
        checked="varnishd -C, and the suite of real engines with Varnish 7.1; not run by Vinyl 9",
        checker=("varnishd", "-j", "none", "-C", "-n", "{folder}/work", "-f", "{file}"),
    ),
)
