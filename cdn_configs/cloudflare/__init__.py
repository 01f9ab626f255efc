"""Cloudflare by code: a Worker that shares reads, and one whose reads are one in all the world."""

from __future__ import annotations

from typing import Final

from cdn_configs.target import Ability, Target

_ABILITIES: Final[frozenset[Ability]] = frozenset(
    {"caches", "collapses", "sorts-query", "stale", "conditional"}
)
_DOES = (
    "Stores what the gateway says may be stored, in the data centre of its readers.",
    "Serves a stale copy at once, and fetches a new one behind it.",
    "Answers a reader's If-None-Match itself.",
    "Passes SSE, HEAD and writes on as they come.",
)
_CHECKED = (
    "The suite runs it in workerd, the runtime of Cloudflare. Cloudflare's network was not there: "
    "Workers Cache, many isolates and data centres were not run."
)

TARGETS = (
    Target(
        name="cloudflare-worker",
        title="Cloudflare Worker",
        folder="cloudflare",
        template="worker.js.j2",
        file_name="worker.js",
        comment="//",
        does=(
            "Makes equal reads at the same time one request for each isolate, and with Workers "
            "Cache before it one for each data centre.",
            *_DOES,
        ),
        does_not=(
            "Make SSE reads one request: each reader has a connection to the gateway.",
            "Share a read of over 32 MiB, or of unknown length.",
        ),
        abilities=_ABILITIES,
        needs_host=False,
        credentials=("bypass", "per-credential"),
        longest_poll_s=25,
        longest_poll_reason="a Worker may wait for 30 s after its reader has left, and the others "
        "who wait for the same answer need it",
        no_purge="what the Cache API of a data centre keeps, no other can purge",
        checked=_CHECKED,
        checker=("node", "--check", "{file}"),
    ),
    Target(
        name="cloudflare-durable",
        title="Cloudflare Worker with Durable Objects",
        folder="cloudflare",
        template="durable.js.j2",
        file_name="worker.js",
        comment="//",
        does=(
            "Makes equal reads at the same time one request, wherever their readers are.",
            *_DOES,
        ),
        does_not=(
            "Make SSE reads one request: each reader has a connection to the gateway.",
            "Answer far readers as soon as the Worker alone: a read has one object, in one place.",
            "Cost as little: a Durable Object is billed for as long as a long-poll waits in it.",
        ),
        abilities=_ABILITIES,
        needs_host=False,
        credentials=("bypass", "per-credential"),
        longest_poll_s=25,
        longest_poll_reason="a Worker may wait for 30 s after its reader has left, and the others "
        "who wait for the same answer need it",
        no_purge="what the Cache API of a data centre keeps, no other can purge",
        checked=_CHECKED,
        checker=("node", "--check", "{file}"),
    ),
)
