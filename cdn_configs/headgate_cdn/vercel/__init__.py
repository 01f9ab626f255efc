"""Vercel: a function for Node.js that passes everything on, and has whole chunks cached."""

from __future__ import annotations

from headgate_cdn.target import Target

TARGETS = (
    Target(
        name="vercel",
        title="Vercel function (Node.js)",
        folder="vercel",
        template="function.mjs.j2",
        file_name="headgate.mjs",
        comment="//",
        clears_forwarded='headers.delete("Forwarded")',
        does=(
            "It lets Vercel's CDN store public whole chunks, and serve them stale "
            "while it fetches new ones.",
            "It ends SSE after a control event, before the limit of the platform, so that readers "
            "continue where they were.",
            "It passes long-polls, HEAD and writes on as they come.",
            "While the gateway is away it tells each EventSource to ask again.",
        ),
        does_not=(
            "It takes no appends of more than 4.5 MB: Vercel answers them with 413.",
            "It does not make equal long-polls one request, nor SSE reads: Vercel keeps no 204, "
            "and runs a function for each.",
            "The same parameters in another order are another copy: Vercel's key is the query as "
            "it was sent.",
            "It does not keep what reached the tail, nor anything with Vary, which the gateway "
            "sends where http.cors_origins is a list.",
            "It stores no responses to readers with credentials. But they, too, get the copy of a "
            "response to an anonymous reader, if there is one: Vercel's CDN looks for it before "
            "the function runs, and its key has no header.",
        ),
        needs_host=False,
        is_elsewhere=True,
        keeps_readers_apart=False,
        why_not={"per-credential": "Vercel's CDN cannot take a header into its key"},
        no_upstream_ca="it trusts the public authorities, and the name in --upstream is verified",
        longest_poll_s=255,
        longest_poll_reason="Vercel ends a function after 300 s, unless its plan and its "
        "maxDuration say more, of which 45 s are to spare",
        no_stale_if_error="Vercel's CDN decides on its copies, and what it does was not tried",
        no_purge="Headgate has no driver for Vercel's purges, which are by a tag of its own",
        state="run",
        checked="The suite runs it in Node.js, where Vercel runs it. Vercel's own machines and "
        "its CDN were not tried: that the CDN keeps and drops copies was not run",
        checker=("node", "--check", "{file}"),
    ),
)
