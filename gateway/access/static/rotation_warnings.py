"""Revoked readers that may still have a reader key, with which caches serve them new messages.

A cache sends a poll to the gateway with the credential of one reader, and gives the response to all
readers with the same URL. So on a route with reader keys a revocation takes effect at the caches in
front once the key is rotated, or once no other reader uses the old key.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from gateway.access.revocations import RotationWarning
from gateway.access.static.doubts import meets
from gateway.settings.credential_kinds import KINDS
from gateway.settings.grants import BELOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.access.revocations import Revocations
    from gateway.access.static.tokens_file import StaticToken, TokensFile
    from gateway.settings import Settings


class KeyedRoute(NamedTuple):
    """A route with reader keys, and the kinds of credentials by which its readers are known."""

    prefix: str
    kinds: frozenset[str]


def keyed_routes(settings: Settings) -> tuple[KeyedRoute, ...]:
    """Return the routes of the settings that have reader keys."""
    return tuple(
        KeyedRoute(route.prefix, frozenset(settings.auth_of(route)))
        for route in settings.route_table
        if route.reader_keys == "on"
    )


def rotation_warnings(
    file: TokensFile, routes: Iterable[KeyedRoute]
) -> tuple[RotationWarning, ...]:
    """Return the revocations of a tokens_file that no rotation has followed, by their streams."""
    done = {pattern: frozenset(names) for pattern, names in file.rotated_for.items()}
    return _by_streams(it for it in _revoked(file, routes) if not _has_rotated(done, it))


def removal_warnings(
    before: TokensFile, after: TokensFile, routes: Iterable[KeyedRoute]
) -> tuple[RotationWarning, ...]:
    """Return the tokens that were taken out of a file without a rotation of their keys."""
    removed = [before.tokens[digest] for digest in before.tokens.keys() - after.tokens.keys()]
    found = (
        _Reader(route.prefix, streams, f"removed token {token.name}")
        for route in routes
        if "tokens" in route.kinds
        for token in removed
        for streams in _readable(token, route.prefix)
    )
    return remaining_warnings(_by_streams(found), before.reader_keys, after.reader_keys)


def remaining_warnings(
    found: Iterable[RotationWarning], before: Mapping[str, int], after: Mapping[str, int]
) -> tuple[RotationWarning, ...]:
    """Return the revocations whose streams have no key of a higher version than `before`."""
    raised = [streams for streams, version in after.items() if version > before.get(streams, 0)]
    return tuple(it for it in found if not any(_covers(one, it.streams) for one in raised))


def rotated_for(file: TokensFile, streams: str, routes: Iterable[KeyedRoute]) -> tuple[str, ...]:
    """Return the revoked readers of a file who lose their keys by a rotation of these streams."""
    return tuple(sorted({it.name for it in _revoked(file, routes) if _covers(streams, it.streams)}))


class _Reader(NamedTuple):
    prefix: str
    streams: str
    name: str


def _revoked(file: TokensFile, routes: Iterable[KeyedRoute]) -> Iterator[_Reader]:
    signed = [*_signed(file.revocations)]
    named = [it for it in file.tokens.values() if it.name in file.revocations.names]
    for route in routes:
        if "tokens" in route.kinds:
            for token in named:
                for streams in _readable(token, route.prefix):
                    yield _Reader(route.prefix, streams, f"name {token.name}")
        if any(it.name in route.kinds for it in KINDS.values() if it.is_signed):
            for name in signed:
                yield _Reader(route.prefix, _all_below(route.prefix), name)


def _signed(revocations: Revocations) -> Iterator[str]:
    """Yield the revocations of signed tokens, whose streams nobody knows here."""
    for subject, before in revocations.subjects.items():
        until = "" if before == inf else f" before {datetime.fromtimestamp(before, UTC):%FT%TZ}"
        yield f"sub {subject}{until}"
    yield from (f"jti {it}" for it in revocations.token_ids)
    yield from (f"kid {it}" for it in revocations.kids)


def _readable(token: StaticToken, prefix: str) -> Iterator[str]:
    """Yield the streams of a route that a token may read."""
    for grant in token.grants:
        if "read" in grant.operations and meets(grant.streams, prefix):
            whole = _all_below(prefix)
            yield grant.streams if _covers(whole, grant.streams) else whole


def _all_below(prefix: str) -> str:
    return f"{prefix.rstrip('/')}{BELOW}"


def _covers(pattern: str, streams: str) -> bool:
    """Return whether a pattern has every stream of another one."""
    if pattern == streams:
        return True
    return pattern.endswith(BELOW) and streams.startswith(pattern[:-1])


def _has_rotated(done: Mapping[str, frozenset[str]], reader: _Reader) -> bool:
    return any(
        reader.name in names for pattern, names in done.items() if _covers(pattern, reader.streams)
    )


def _by_streams(readers: Iterable[_Reader]) -> tuple[RotationWarning, ...]:
    found: dict[tuple[str, str], set[str]] = {}
    for reader in readers:
        found.setdefault((reader.prefix, reader.streams), set()).add(reader.name)
    return tuple(
        RotationWarning(prefix, streams, tuple(sorted(names)))
        for (prefix, streams), names in sorted(found.items())
    )
