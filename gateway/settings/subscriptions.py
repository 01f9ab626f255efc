"""The settings of subscriptions: how their receivers reach us, and what one client may have."""

from __future__ import annotations

from typing import Annotated, Literal

from gateway.settings.front import FrontSettings
from gateway.settings.hosts import check_ipv6, is_port
from gateway.settings.reading import files
from gateway.settings.reading.kinds import ORIGIN_URL, Count, SubscriptionPlace, ValueKind
from gateway.settings.reading.reload_effects import NEXT, SET_UP_ANEW
from gateway.settings.reading.tables import ValueContext, checks, setting
from gateway.settings.reading.values import TextPattern, Validator

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


class SubscriptionSettings(FrontSettings):
    """The settings of subscriptions on all routes to logs."""

    subscriptions: SubscriptionPlace = setting(
        "",
        reload=SET_UP_ANEW,
        description="Log that stores subscriptions to the streams of the only route, if its origin "
        "is http(s); with routes, each has its own. Several gateways, or workers, share one in "
        "Redis. Empty passes requests for them on.",
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
    webhook_loopback: Literal["auto", "on", "off"] = setting(
        "auto",
        reload=NEXT,
        description="Whether webhooks may be http://localhost and http://127.x.x.x: auto permits "
        "it where only this machine reaches the gateway, that is if listen is a loopback address "
        "and there are no front, no public_url and no trusted_proxies.",
    )
    # Each has a row in the log, 2 KiB in memory, and at most one delivery under way.
    max_client_subscriptions: Count = setting(
        1_000,
        ge=0,
        le=1_000_000,
        reload=NEXT,
        description="Most subscriptions of one principal on a route; all clients without a "
        "credential count as one.",
    )
    # A cursor takes 400 bytes in memory and 100 in the log.
    max_subscription_streams: Count = setting(
        100_000,
        ge=1,
        le=10_000_000,
        reload=NEXT,
        description="Most streams that one subscription is linked to.",
    )

    @checks("subscriptions")
    @classmethod
    def _check_log(cls, place: str, context: ValueContext) -> str:
        files.check_place(place, context.look)
        return place
