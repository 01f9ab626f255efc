"""Cloudflare by code: a Worker that shares reads, and one whose reads are one in all the world."""

from __future__ import annotations

import msgspec

from headgate_cdn.target import Target

_WORKER = Target(
    name="cloudflare-worker",
    title="Cloudflare Worker",
    folder="cloudflare",
    template="worker.js.j2",
    file_name="worker.js",
    comment="//",
    clears_forwarded='headers.delete("Forwarded")',
    does=(
        "It makes equal reads at the same time one request for each isolate, and with Workers "
        "Cache before it one for each data centre.",
        "It stores what the gateway says may be stored, in the data centre of its readers.",
        "It serves a stale copy at once, and fetches a new one meanwhile.",
        "It answers a reader's If-None-Match itself.",
        "It passes SSE, HEAD and writes on as they come.",
        "While the gateway is away it holds requests for events for up to 30 s.",
        "With --purge, it keeps copies in Workers Cache alone, and drops those of a stream, or of "
        "a route, in all data centres when the gateway says so.",
        "With verified, whoever has a read token of the gateway shares the copies of the streams "
        "of its own logs, as the token permits; the key of a copy has nothing of the reader.",
    ),
    does_not=(
        "It shares no SSE: each such reader has a connection to the gateway.",
        "It shares no read of over 32 MiB, or of unknown length.",
        "With verified, it does not hear of a revocation: a read token counts until it expires.",
    ),
    abilities=frozenset(
        {"caches", "collapses", "sorts-query", "stale", "conditional", "purges", "compresses"}
    ),
    needs_host=False,
    can_stand_alone=True,
    is_elsewhere=True,
    credentials=("bypass", "per-credential", "reader-key", "verified"),
    why_not={"asked": "it verifies read tokens itself, without asking"},
    no_upstream_ca="it trusts the public authorities, and the name in --upstream is verified",
    longest_poll_s=25,
    longest_poll_reason="a Worker may wait for 30 s after its reader has left, and the others "
    "who wait for the same answer need it",
    state="run",
    no_stale_if_error="",
    checked="The suite runs it in workerd, the runtime of Cloudflare. Cloudflare's network was "
    "not there: Workers Cache, and with it --purge, many isolates and data centres were not tried",
    checker=("node", "--check", "{file}"),
    beside=("cloudflare-worker-wrangler", "cloudflare-package"),
)
_DURABLE = msgspec.structs.replace(
    _WORKER,
    name="cloudflare-durable",
    title="Cloudflare Worker with Durable Objects",
    does=(
        "It makes equal reads at the same time one request, wherever their readers are.",
        *_WORKER.does[1:],
    ),
    does_not=(
        *_WORKER.does_not,
        "It does not answer far readers as soon as the Worker alone: a read has one object, in "
        "one place.",
        "It does not cost as little: a Durable Object is billed for as long as a long-poll waits "
        "in it.",
    ),
    beside=("cloudflare-durable-wrangler", "cloudflare-package"),
)
_WRANGLER = msgspec.structs.replace(
    _WORKER,
    name="cloudflare-worker-wrangler",
    title="Cloudflare Worker (wrangler.jsonc)",
    template="wrangler.jsonc.j2",
    file_name="wrangler.jsonc",
    clears_forwarded="",
    does=(
        "It has Workers Cache before the reads that many ask, and not before the gateway.",
        "It leads the host name to the Worker, as a custom domain.",
        "Standalone, it has wrangler dev listen on an address of this machine alone.",
    ),
    does_not=("It does nothing without the Worker and package.json, which lie beside it.",),
    abilities=frozenset({"compresses"}),
    state="run by hand",
    checked="wrangler 4.164 took it, deploy --dry-run and dev. It was not deployed",
    checker=(),
    beside=(),
)
_OF_DURABLE = msgspec.structs.replace(
    _WRANGLER,
    name="cloudflare-durable-wrangler",
    title="Cloudflare, Durable Objects (wrangler.jsonc)",
    does=(*_WRANGLER.does, "It names the class of the Durable Objects."),
)
_PACKAGE = msgspec.structs.replace(
    _WRANGLER,
    name="cloudflare-package",
    title="Cloudflare Workers (package.json)",
    template="package.json.j2",
    file_name="package.json",
    comment="json",
    does=("It has npm install the wrangler that knows what wrangler.jsonc says.",),
    does_not=("It does nothing without the Worker and wrangler.jsonc, which lie beside it.",),
    checked="npm installed wrangler 4.164 by it",
)
TARGETS = (_WORKER, _DURABLE, _WRANGLER, _OF_DURABLE, _PACKAGE)
