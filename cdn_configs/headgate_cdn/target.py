"""The declaration of a target: what it can do, what it cannot, and how its file is checked."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headgate_cdn.options import CredentialMode

# What the suite of real engines asserts, in both directions:
#   caches           answers of catch-up reads are served without the gateway
#   collapses        equal long-polls become one request
#   collapses-sse    equal SSE reads become one request
#   sorts-query      the order of the query makes no other key
#   stale            stale-while-revalidate is served at once and refreshed meanwhile
#   conditional      a reader's If-None-Match is answered by the edge itself
#   purges           an exact URL can be purged
#   compresses       history that everybody may read is sent compressed
Ability = Literal[
    "caches",
    "collapses",
    "collapses-sse",
    "sorts-query",
    "stale",
    "conditional",
    "purges",
    "compresses",
]
Comment = Literal["#", "//", "json"]
# How far a target's file was put to the test:
#   run              by the tests, in its software, or in what its vendor gives out for that
#   run by hand      once, in its software; the tests parse it, where its types are published
#   parsed, not run  as far as the tests go, and nobody has run it
#   not tried        made from its vendor's pages; no machine of that vendor has had it
State = Literal["run", "run by hand", "parsed, not run", "not tried"]

# Why most targets do not have a mode of credentials.
WHY_NOT: dict[CredentialMode, str] = {
    "reader-key": "no rules for that were made and tried",
    "asked": "it cannot ask the gateway before it looks for a copy",
    "verified": "it runs no code that verifies signatures by Ed25519",
}
_CANNOT: dict[CredentialMode, str] = {
    "per-credential": "keep a cache for each reader",
    "reader-key": "keep copies by reader key",
    "asked": "ask the gateway who may read",
    "verified": "verify read tokens",
}


def keeps_nothing(why: str) -> dict[str, Any]:
    """Return the fields of a target without a cache; `why` follows what it cannot do for that."""
    return {
        "why_not": dict.fromkeys(_CANNOT, why),
        "no_stale_if_error": why,
        "no_purge": why,
    }


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of configuration. What is a sentence here is shown to people as it is."""

    name: str
    title: str
    folder: str  # below cdn_configs, with the template in it
    template: str
    file_name: str  # that the file is suggested to have
    comment: Comment  # how its language writes a comment: the mark is in one
    # How it takes a made-up Forwarded out of requests; "" where it does not. With one, a client is
    # somebody else where the gateway counts: see Behind proxies in docs/operating.md.
    clears_forwarded: str = ""
    does: tuple[str, ...]
    does_not: tuple[str, ...]
    abilities: frozenset[Ability] = frozenset()
    needs_host: bool = True  # unless the file is standalone
    can_stand_alone: bool = False
    is_elsewhere: bool = False  # on machines to which a loopback address is their own
    in_cluster: bool = False  # in Kubernetes, where the gateway is a Service
    # Why it cannot speak HTTPS to the gateway and verify its certificate, and what to do instead.
    no_https: str = ""
    # Why it trusts no authority but the public ones, and verifies the host name of the upstream.
    no_upstream_ca: str = ""
    balances: bool = False  # over several gateways; it leaves out one that does not answer
    # Every target can do "bypass".
    credentials: tuple[CredentialMode, ...] = ("bypass",)
    # Why it does not have one of the other modes, where WHY_NOT does not say it.
    why_not: dict[CredentialMode, str] = msgspec.field(default_factory=dict)
    # No reader with credentials gets a copy of what an anonymous one was answered.
    keeps_readers_apart: bool = True
    # Answers that differ by Origin, which they do where cors_origins is a list.
    keeps_sites_apart: bool = True
    longest_poll_s: int | None = None
    longest_poll_reason: str = ""
    longest_heartbeat_s: int | None = None  # of SSE: how long the edge bears silence
    longest_heartbeat_reason: str = ""
    # What a shield is called there (`shield`), as a regular expression and as words; "" has none.
    shield: str = ""
    shield_words: str = ""
    # Why `stale_if_error` is refused; "" where it is not.
    no_stale_if_error: str = "no rules for that were made and tried"
    no_purge: str = ""  # why `purge` is refused; "" where it is not
    state: State = "not tried"
    checked: str = ""  # how its file is checked here, and what is not
    # The vendor's own checker; {file} is the file in a {folder} of its own.
    checker: tuple[str, ...] = ()
    # A template beside the other, with which a file that is part of another becomes a whole one,
    # for the checker. Its `part` is the file's name.
    whole: str = ""
    # Folders of the machine that the file is for; the checker has them below its own.
    machine_folders: tuple[str, ...] = ()
    # Targets whose files must lie beside this one.
    beside: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The place of a target that does not run on this machine, as the end of a sentence."""
        return "in a cluster" if self.in_cluster else "at its vendor"

    def cannot(self, mode: CredentialMode) -> str:
        """Return the rest of "it cannot …" about a mode of credentials, with the reason."""
        return f"{_CANNOT[mode]}: {self.reason_against(mode)}"

    def reason_against(self, mode: CredentialMode) -> str:
        """Return why it has not this mode of credentials."""
        return self.why_not.get(mode) or WHY_NOT[mode]
