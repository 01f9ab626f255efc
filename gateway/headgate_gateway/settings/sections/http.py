"""The settings of requests over HTTP: which are received, from whom, and how long they may take."""

from __future__ import annotations

from typing import Annotated

from headgate.hosts import check_ipv6, is_port
from headgate_gateway.settings.reading.kinds import (
    ORIGIN_URL,
    CorsOrigins,
    Hosts,
    Networks,
    Seconds,
    ValueKind,
)
from headgate_gateway.settings.reading.reload_effects import AT_ONCE, FIXED, NEXT
from headgate_gateway.settings.reading.tables import Section, ValueContext, checks, setting
from headgate_gateway.settings.reading.units import HOUR_S
from headgate_gateway.settings.reading.values import TextPattern, Validator

PUBLIC_URL_KIND = "an http(s) URL without a slash at its end, such as https://streams.example.com"


def _check_public_url(url: str) -> str:
    """Return a URL that paths can follow, or "". Raises ValueError."""
    if not url:
        return url
    match = ORIGIN_URL.fullmatch(url)
    if match is None or url.endswith("/") or not is_port(int((match["port"] or ":80")[1:])):
        raise ValueError(f"must be {PUBLIC_URL_KIND}")
    if match["ipv6"] is not None:
        check_ipv6(match["ipv6"])
    return url


class HttpSettings(Section):
    """The settings of requests to the listener for streams."""

    hosts: Hosts = setting(
        (),
        description="Values of Host that are accepted; requests with others are refused. Empty "
        "accepts any. Loopback names, and the host of listen, are always accepted.",
        reload=NEXT,
    )
    cors_origins: CorsOrigins = setting(
        ("*",),
        description="Web origins whose pages may read the streams; * means all. They may write, "
        "too, with a token in Authorization that the route accepts.",
        reload=NEXT,
    )
    write_origins: CorsOrigins = setting(
        (),
        description="Web origins whose pages may write without a token in Authorization, besides "
        "those of the host itself; * means all. cors_origins has to name them, too.",
        reload=NEXT,
    )
    public_url: Annotated[
        str,
        Validator(_check_public_url),
        ValueKind(PUBLIC_URL_KIND),
        TextPattern(rf"({ORIGIN_URL.pattern})?"),
    ] = setting(
        "",
        reload=NEXT,
        description="URL at which clients reach the streams' listener, before the prefix of a "
        "route. Webhooks name it as the place of their callbacks and keys. Empty is the first host "
        "of front, or else listen if that is a loopback address; otherwise webhook subscriptions "
        "are refused.",
    )
    trusted_proxies: Networks = setting(
        (),
        description="Proxies that are trusted to send the addresses of their clients in "
        "X-Forwarded-For or Forwarded; from others these fields are ignored.",
        reload=FIXED,
    )
    body_timeout: Seconds = setting(
        30.0,
        ge=0.1,
        le=HOUR_S,
        description="Longest wait for more of a request's body, and for a client to receive more "
        "of its response.",
        reload=NEXT,
    )
    keepalive_timeout: Seconds = setting(
        75.0, ge=0.1, le=HOUR_S, description="How long a connection may stay idle.", reload=AT_ONCE
    )

    @checks("write_origins")
    @classmethod
    def _check_writers_may_read(
        cls, origins: tuple[str, ...], context: ValueContext
    ) -> tuple[str, ...]:
        readers = context.values.get("cors_origins", ("*",))
        for origin in origins:
            if "*" not in readers and origin not in readers:
                raise ValueError(f"must not name {origin}, which cors_origins does not name")
        return origins
