"""The finding of a check, and the names of checks, advice and vendors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Check = Literal[
    "query order",
    "304",
    "credentials",
    "paths",
    "equal polls",
    "204 together",
    "204 kept",
    "cursor",
    "poll held",
    "SSE",
    "SSE resume",
    "keep-alive",
    "HEAD",
    "POST body",
    "large append",
    "Expect",
    "chunked append",
    "content",
    "repeated append",
    "own pages",
    "refusals",
    "empty tail",
    "browsers' copies",
    "early 404",
    "offsets",
    "chunks kept",
    "headers",
    "CORS",
    "HTTP/2",
    "rate limit",
    "one server",
    "sent once",
    "waiting readers",
    "DELETE",
    "reader-key",
    "verified",
    "private reads",
    "old tags",
    "SSE kept",
    "cookies",
    "Stream-TTL",
    "Stream-Seq",
    "query case",
    "configuration",
]
# What else can be behind a failure of a check.
Cause = Literal[
    "body limit",
    "server limit",
    "live in key",
    "rewritten",
    "firewall",
    "error pages",
    "CORS twice",
    "preflight",
    "kept 304",
    "HEAD refused",
    "POST kept",
    "cut responses",
    "long heads",
    "204 changed",
    "Vary",
]
Advice = Check | Cause
Vendor = Literal[
    "nginx",
    "Varnish",
    "Fastly",
    "Cloudflare",
    "CloudFront",
    "Bunny",
    "Vercel",
    "Caddy",
    "HAProxy",
    "Envoy",
    "Traefik",
    "AWS ALB",
    "Google load balancer",
    "ingress-nginx",
    "Gateway API",
]


class CheckVerdict(StrEnum):
    """The verdict of a check."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "could not tell"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check, how it ended, and what was seen: sentences without the last full stop."""

    check: Check
    verdict: CheckVerdict
    saw: str
    # What to do about it, if that is not the usual advice for this check.
    advice: Advice | None = None

    @property
    def is_pass(self) -> bool:
        """True if the check passed."""
        return self.verdict is CheckVerdict.PASS

    @property
    def is_failure(self) -> bool:
        """True if something must be changed."""
        return self.verdict is CheckVerdict.FAIL


def passed(check: Check, saw: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(check, CheckVerdict.PASS, saw)


def failed(check: Check, saw: str, advice: Advice | None = None) -> Finding:
    """Return the finding of a check that failed: something has to be changed."""
    return Finding(check, CheckVerdict.FAIL, saw, advice)


def noted(check: Check, saw: str) -> Finding:
    """Return the finding of a fact that may be intended."""
    return Finding(check, CheckVerdict.NOTE, saw)


def unknown(check: Check, saw: str) -> Finding:
    """Return the finding of a check that could not decide."""
    return Finding(check, CheckVerdict.UNKNOWN, saw)
