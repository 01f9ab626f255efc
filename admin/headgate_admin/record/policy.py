"""Policies of routes in sentences, made from their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.monitoring.quantities import spell
from headgate_gateway.settings.credential_kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings import ModelSettings, ProxySettings, Route


def kind(route: Route) -> str:
    """Return where the streams of a route live: a kind of log, or `http`."""
    return "http" if route.log_kind is None else route.log_kind.name


def sentences(route: Route, auth: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the policy of a route with these kinds of credentials, a sentence each."""
    return (
        *admission(route, auth),
        _sharing(route, auth),
        *_caching(route, is_shared=not route.is_private(auth) or route.reader_keys == "on"),
        *(_before_origin(route) if route.is_http else _keeping(route)),
    )


def admission(route: Route, auth: tuple[str, ...]) -> Iterator[str]:
    """Yield a sentence each on the rights of the route's users."""
    if not auth:
        yield "Everybody may read and write."
    elif "origin" in auth:
        yield "The origin decides who may read and write."
    else:
        titles = _listed(tuple(KINDS[it].title for it in auth))
        yield f"To read or write, a client needs one of: {titles}."
    if auth and route.anonymous:
        yield f"Everybody may {_listed(route.anonymous)}."
    if auth and route.conceal == "on":
        yield "Others get 404, as if there were no stream."
    if route.listing == "on":
        yield "A client with a token that may read all of them may list the streams."


def calls(one: ModelSettings | ProxySettings, auth: tuple[str, ...]) -> str:
    """Return a sentence on who may call a provider through a model route, or hosts by a proxy."""
    key = getattr(one, "key_file", "")
    with_key = f", with the provider's key in {key}" if key else ""
    if not auth:
        return f"Everybody may call it{with_key}."
    titles = _listed(tuple(KINDS[it].title for it in auth))
    return f"To call it{with_key}, a client needs one of: {titles}."


def _sharing(route: Route, auth: tuple[str, ...]) -> str:
    if not route.is_private(auth):
        return "Responses are public: shared caches may store them."
    if route.reader_keys == "on":
        return (
            "Responses are private: shared caches may store only those to URLs with a reader key."
        )
    return "Responses are private: no shared cache may store them."


def _caching(route: Route, *, is_shared: bool) -> Iterator[str]:
    where = "" if is_shared else "in browsers "
    yield (
        f"Whole chunks may be cached {where}for {spell(route.chunk_lifetime)}, "
        f"responses at the tail for {spell(route.tail_max_age)}, "
        f"closed streams from their beginning for {spell(route.closed_lifetime)}."
    )
    if route.stale_while_revalidate:
        yield (
            f"Caches may serve stale ones for {spell(route.stale_while_revalidate)} more "
            "while they revalidate."
        )


def _before_origin(route: Route) -> Iterator[str]:
    if route.stale_if_error:
        yield (
            f"While the origin is unreachable, stale copies are served for "
            f"{spell(route.stale_if_error)}."
        )
    if route.drop_query:
        yield f"The query keys {_listed(route.drop_query)} are dropped."
    if route.drop_headers:
        yield f"The headers {_listed(route.drop_headers)} are dropped."
    if route.identity_headers:
        yield f"Readers are also identified by {_listed(route.identity_headers)}."
    yield f"At most {route.max_origin_requests:,} requests are at the origin at once."


def _keeping(route: Route) -> Iterator[str]:
    if route.log_kind is not None and route.log_kind.lasts:
        yield route.log_kind.lasts
    if route.retention_age:
        yield f"Records are removed after {spell(route.retention_age)}."
    if route.retention_size:
        yield f"Of each stream the newest {route.retention_size:,} bytes are kept."
    if route.retention_messages:
        yield f"Of each stream the newest {route.retention_messages:,} messages are kept."
    if route.default_ttl or route.max_ttl:
        shortest = route.default_ttl or route.max_ttl
        yield f"A stream ends after {spell(shortest)} without use, unless its creation says when."
    if route.max_ttl:
        yield f"No stream is created to live longer than {spell(route.max_ttl)}."
    if route.wait_replicas:
        yield f"An append is acknowledged when {_replicas(route.wait_replicas)} it."


def _replicas(count: int) -> str:
    return "a replica has" if count == 1 else f"{count} replicas have"


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words)
