"""The settings of routes by the Proxy Protocol: a request for any allowed host becomes a stream."""

from __future__ import annotations

from typing import Annotated

from headgate_gateway.errors import DestinationRefused
from headgate_gateway.protocol.http.destinations import AllowedHosts, allowed_host
from headgate_gateway.settings.auth import Auth
from headgate_gateway.settings.reading import files
from headgate_gateway.settings.reading.kinds import (
    AS_TEXT,
    Count,
    FilePath,
    Prefix,
    Seconds,
    Size,
    ValueKind,
    WholeSeconds,
)
from headgate_gateway.settings.reading.tables import Table, ValueContext, checks, setting
from headgate_gateway.settings.reading.units import DAY_S, GIB, HOUR_S, YEAR_S
from headgate_gateway.settings.reading.values import TextPattern, Validator

PROXIES_KIND = "an array of tables, each with prefix, streams, allow and secret_file"
# A random one of letters and digits has 190 bits. What is read of a file is bounded.
SHORTEST_SECRET, LONGEST_SECRET = 32, 4096
HOST_KIND = "[SCHEME://]HOST[:PORT] or such a host with *. before it"


def _check_host(entry: str) -> str:
    try:
        allowed_host(entry)
    except DestinationRefused as refusal:
        raise ValueError(f"must be {HOST_KIND}: {refusal.detail}") from None
    return entry


AllowedHostText = Annotated[
    str, Validator(_check_host), TextPattern(r"(https?://)?(\*\.)?[^\s/?#@*]+(:\*)?")
]
AllowedHostTexts = Annotated[
    tuple[AllowedHostText, ...], *AS_TEXT, ValueKind(f"a list, each item {HOST_KIND}")
]


class ProxySettings(Table):
    """A path prefix that passes requests on to allowed hosts, and where responses are stored."""

    prefix: Prefix = setting(
        description="Path to which clients send POST requests with Upstream-URL.",
    )
    streams: Prefix = setting(
        description="Path below which responses are stored, on a route to a log: file:PATH, "
        "memory: or a Redis.",
    )
    allow: AllowedHostTexts = setting(
        (),
        description="Hosts that clients may name, such as api.openai.com, *.example.com or "
        "https://example.com:8443. Only their public addresses are connected to.",
    )
    allow_inside: AllowedHostTexts = setting(
        (),
        description="Hosts that clients may name, and that may also have private or loopback "
        "addresses.",
    )
    secret_file: FilePath = setting(
        description="File with the secret, of at least 32 characters, that signs the URLs of "
        "streams. Only the server's user and group may read it.",
    )
    auth: Auth = setting(
        (),
        description="Credentials that callers need. By default the auth of all routes.",
    )
    ttl: WholeSeconds = setting(
        DAY_S,
        ge=1,
        le=YEAR_S,
        description="How long a response is stored after its last byte or read, and how long the "
        "signed URL of a stream is valid.",
    )
    read_timeout: Seconds = setting(
        600.0,
        ge=0.1,
        le=HOUR_S,
        description="Longest wait for the upstream: for the head of its response, and for each "
        "part that follows.",
    )
    max_answer_size: Size = setting(
        256 << 20,
        ge=1,
        le=1024 * GIB,
        description="Longest response; a longer one ends after the bytes that fit, as failed.",
    )
    # Each takes a connection to its upstream, 35 KiB, and up to 64 KiB of its latest bytes.
    max_answers: Count = setting(
        1000,
        ge=1,
        le=100_000,
        description="Most responses that are written at once.",
    )
    max_client_answers: Count = setting(
        100,
        ge=1,
        le=100_000,
        description="Most responses that are written at once for one token.",
    )

    @checks("secret_file")
    @classmethod
    def _check_secret_file(cls, path: str, context: ValueContext) -> str:
        if isinstance(context.look, files.Look):
            signing_secret(path)
        return path

    @property
    def allowed_hosts(self) -> AllowedHosts:
        """The hosts that get requests."""
        return AllowedHosts(map(allowed_host, self.allow), map(allowed_host, self.allow_inside))


def signing_secret(path: str) -> str:
    """Return the secret in a file that signs URLs. Raises ValueError, which does not show it."""
    secret = files.secret_text(path, LONGEST_SECRET + 1)
    if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET or not secret.isprintable():
        raise ValueError(f"must be a file with at least {SHORTEST_SECRET} characters on one line")
    return secret
