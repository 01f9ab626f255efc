"""Find settings that are valid and dangerous: they do what they say, which is seldom meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.settings.cross_checks.written_routes import written_routes
from headgate_gateway.settings.reading.toml_file import spell
from headgate_gateway.settings.reading.url_secrets import TYPED, secret_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.declared import Settings

# seconds; the defaults of nginx (proxy_read_timeout), Varnish (between_bytes_timeout) and the load
# balancers of AWS (idle_timeout)
PROXIES_WAIT_S = 60


def dangers(settings: Settings) -> Iterator[str]:
    """Yield a sentence, without a full stop, for each setting that is valid and dangerous.

    Folders are looked at, and no server is asked.
    """
    yield from _silences(settings)
    yield from _doubled_prefixes(settings)
    yield from _typed_secrets(settings)
    for path, route in written_routes(settings):
        danger = "" if route.log_kind is None else route.log_kind.danger(route.storage)
        if danger:
            yield f"{settings.named(spell(path))}: {danger}"


def _doubled_prefixes(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each route whose prefix ends the URL that it follows."""
    url = settings.http.public_url
    for route in settings.route_table:
        if route.prefix and url.endswith(route.prefix):
            yield (
                f"{settings.named('http.public_url')} ends with {route.prefix}, and the prefixes "
                f"of routes follow it: webhooks would name {url}{route.prefix}; "
                "leave the prefix out"
            )


def _typed_secrets(settings: Settings) -> Iterator[str]:
    """Yield a sentence if the storage was given by a flag, and has a password."""
    secret = secret_in(settings.storage)
    named = settings.named("storage")
    if secret and named.startswith("--"):
        yield f"{named}: a {secret} {TYPED}: give it by HEADGATE_STORAGE or a file of settings"


def _silences(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each wait in which proxies give a response up."""
    # A response that ends before its first heartbeat is not silent for longer.
    silences = {
        "live.sse_heartbeat": min(settings.live.sse_heartbeat, settings.live.sse_max_age),
        "live.long_poll_timeout": settings.live.long_poll_timeout,
    }
    for key, silence_s in silences.items():
        if silence_s >= PROXIES_WAIT_S:
            yield (
                f"{settings.named(key)} is {settings.value_at(key):g}: by default nginx, Varnish "
                f"and AWS load balancers end a response that is silent for {PROXIES_WAIT_S} s, so "
                "keep it below, or raise their time-outs"
            )
