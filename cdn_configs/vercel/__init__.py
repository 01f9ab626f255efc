"""Vercel: an edge function that passes everything on, and has whole chunks cached."""

from __future__ import annotations

from cdn_configs.target import Target

TARGETS = (
    Target(
        name="vercel",
        title="Vercel edge function",
        folder="vercel",
        template="edge.js.j2",
        file_name="headgate.js",
        comment="//",
        does=(
            "Has Vercel's CDN keep whole chunks that are for everybody, and serve them stale while "
            "it fetches new ones.",
            "Ends SSE behind a control event before the limit of the platform, so that readers go "
            "on where they were.",
            "Passes long-polls, HEAD and writes on as they come.",
        ),
        does_not=(
            "Make equal long-polls one request: Vercel keeps no 204, and runs a function for each.",
            "Know a question in another order of its query: Vercel's key is the query as it was "
            "sent.",
            "Keep what reached the tail, or anything of readers with credentials.",
        ),
        needs_host=False,
        no_per_credential="Vercel's CDN cannot take a header into its key",
        longest_poll_s=20,
        longest_poll_reason="Vercel ends an edge function that has not begun to answer in 25 s",
        no_purge="a function cannot tell Vercel's CDN which of its copies to drop",
        checked="The suite runs it in edge-runtime, the local runtime of Vercel. Vercel's CDN is "
        "not part of it: that it keeps and drops copies was not run.",
        checker=("node", "--check", "{file}"),
    ),
)
