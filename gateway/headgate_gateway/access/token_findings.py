"""The entries of a tokens_file that have no effect, or too little.

A name or a path without effect was mostly mistyped. A revocation has too little on a route with
reader keys: a cache sends a poll to the gateway with the credential of one reader, and gives the
response to all readers with the same URL. So it takes effect at the caches in front once the key is
rotated, or once no other reader uses the old key.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.access.tokens_file import NO_TOKENS, TokensFile, parse_tokens
from headgate_gateway.settings.credential_kinds import KINDS
from headgate_gateway.settings.grants import BELOW, CLAIM
from headgate_gateway.settings.reading.files import whole
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from headgate_gateway.access.tokens_file import Revocations, StaticToken
    from headgate_gateway.settings import Settings

MOST_LISTED = 20  # sentences of a kind, each a line of the log
MOST_NAMED = 3  # readers in one sentence
NOWHERE = "which is below no route: it grants nothing"
_BY_TOKENS_ALONE = frozenset({"tokens"})


class GuardedRoute(NamedTuple):
    """A route, and the kinds of credentials by which its clients are known."""

    prefix: str
    kinds: frozenset[str]
    has_reader_keys: bool = False


def guarded_routes(settings: Settings) -> tuple[GuardedRoute, ...]:
    """Return the routes of the settings, also those that write streams of others."""
    keyed = {route.prefix for route in settings.route_table if route.reader_keys == "on"}
    return tuple(
        GuardedRoute(one.prefix, frozenset(settings.auth_of(one)), one.prefix in keyed)
        for one in settings.guarded
    )


class UnrotatedKey(NamedTuple):
    """Streams of a route, and revoked readers that may still have a reader key of them."""

    prefix: str  # of the route
    streams: str  # a pattern
    readers: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The warning about readers that still have a key, with the command that ends that."""
        names = ", ".join(self.readers[:MOST_NAMED])
        more = len(self.readers) - MOST_NAMED
        names += f" and {more:,} more" if more > 0 else ""
        return (
            f"{names} may still have a reader key of {self.streams}, by which a cache in front "
            "goes on giving out new messages; end that by: "
            f"headgate token rotate '{self.streams}', with the --config of the server if it has one"
        )


class Findings(NamedTuple):
    """A sentence for each entry of a file without effect, and the keys that were not rotated."""

    without_effect: tuple[str, ...] = ()
    unrotated: tuple[UnrotatedKey, ...] = ()


def findings(path: str, file: TokensFile, routes: Sequence[GuardedRoute]) -> Findings:
    """Return what is found in the file at a path."""
    prefixes = [route.prefix for route in routes]
    sentences = [
        *_revoked_nobody(file),
        *_granted_nothing(file, prefixes),
        *_keys_of_nothing(file, prefixes),
        *_opened_to_nobody(file, routes),
    ]
    if len(sentences) > MOST_LISTED:
        sentences[MOST_LISTED:] = [
            f"{len(sentences) - MOST_LISTED:,} more names and paths have no effect"
        ]
    return Findings(tuple(f"{path}: {it}" for it in sentences), unrotated(file, routes))


class ExaminedTokens(NamedTuple):
    """A tokens_file, and what was found in it."""

    file: TokensFile
    findings: Findings = Findings()


NO_FILE = ExaminedTokens(NO_TOKENS)


def examine(routes: Sequence[GuardedRoute], path: str, data: bytes) -> ExaminedTokens:
    """Parse the tokens_file at a path, and look for what has no effect.

    Raises ValueError as `parse_tokens`. For a large file, call it in a thread.
    """
    file = parse_tokens(path, data)
    return ExaminedTokens(file, findings(path, file, routes))


class TokensReport:
    """The warnings about entries of a tokens_file and of settings: in the log, and in notes."""

    def __init__(
        self, settings: Settings, routes: Sequence[GuardedRoute], tokens: ExaminedTokens
    ) -> None:
        """Report on the first content of the file."""
        self._settings = settings
        self._routes = routes
        self._tokens = tokens
        # Of tokens that were removed from the file, whose streams' keys were not rotated since.
        self._removed: tuple[UnrotatedKey, ...] = ()

    def change(self, tokens: ExaminedTokens) -> None:
        """Report on another content of the file, and log its warnings."""
        before, after = self._tokens.file, tokens.file
        self._tokens = tokens
        if revoked := after.revocations.new_since(before.revocations):
            log.info("access.revoked", what=", ".join(revoked))
        removed = unrotated_after(self._removed, before, after, self._routes)
        self._removed = removed[:MOST_LISTED]
        self._warn_of_file()

    def warn(self) -> None:
        """Log all warnings."""
        for sentence in grants_of_issuers(self._settings):
            log.warning("access.no_effect", what=sentence)
        self._warn_of_file()

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each setting or revocation with no effect, or too little."""
        without_effect = self._tokens.findings.without_effect
        return (*grants_of_issuers(self._settings), *without_effect, *self._not_rotated())

    def notes(self) -> dict[str, str | None]:
        """Return the routes with reader keys, and the revocations that no rotation has followed."""
        told: dict[str, list[str]] = {it.prefix: [] for it in _keyed(self._routes)}
        for one in self._unrotated()[:MOST_LISTED]:
            told[one.prefix].append(one.sentence)
        return {f"reader-keys {prefix}": "; ".join(it) or None for prefix, it in told.items()}

    def _warn_of_file(self) -> None:
        for sentence in self._tokens.findings.without_effect:
            log.warning("access.no_effect", what=sentence)
        for sentence in self._not_rotated()[:MOST_LISTED]:
            log.warning("access.not_rotated", what=sentence)

    def _not_rotated(self) -> tuple[str, ...]:
        path = whole(self._settings.credentials.tokens_file)
        return tuple(f"{path}: {it.sentence}" for it in self._unrotated())

    def _unrotated(self) -> tuple[UnrotatedKey, ...]:
        return (*self._tokens.findings.unrotated, *self._removed)


# Without effect


def grants_of_issuers(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each grant to an issuer's tokens whose pattern matches no route."""
    prefixes = [one.prefix for one in settings.guarded]
    for index, issuer in enumerate(settings.credentials.jwt_issuers):
        for streams in _astray((grant.streams for grant in issuer.grants), prefixes):
            yield f"credentials.jwt_issuers[{index}].grants has {streams}, {NOWHERE}"


def _revoked_nobody(file: TokensFile) -> Iterator[str]:
    known = {token.name for token in file.tokens.values()}
    for name in sorted(file.revocations.names - known):
        yield f"revoked has the name {name}, which no token of the file has: it ends nothing"


def _granted_nothing(file: TokensFile, prefixes: Collection[str]) -> Iterator[str]:
    holders: dict[str, str] = {}
    for token in file.tokens.values():
        for grant in token.grants:
            holders.setdefault(grant.streams, token.name)
    for streams in _astray(holders, prefixes):
        yield f"the token {holders[streams]} has a grant of {streams}, {NOWHERE}"


def _keys_of_nothing(file: TokensFile, prefixes: Collection[str]) -> Iterator[str]:
    for streams in _astray(file.reader_keys, prefixes):
        yield f"reader_keys has {streams}, which is below no route: it is the version of nothing"


def _opened_to_nobody(file: TokensFile, routes: Iterable[GuardedRoute]) -> Iterator[str]:
    patterns = {grant.streams for token in file.tokens.values() for grant in token.grants}
    for prefix in (route.prefix for route in routes if route.kinds == _BY_TOKENS_ALONE):
        if not any(meets(pattern, prefix) for pattern in patterns):
            yield (
                f"no token has a grant below {prefix}, where auth asks for a token: "
                "it permits nobody anything that anonymous does not"
            )


def _astray(patterns: Iterable[str], prefixes: Collection[str]) -> Iterator[str]:
    """Yield the patterns that match no stream of any route."""
    for pattern in patterns:
        if not any(meets(pattern, prefix) for prefix in prefixes):
            yield pattern


def meets(pattern: str, prefix: str) -> bool:
    """Return whether a pattern may mean streams below a prefix; a {claim} is any segment."""
    pattern_parts, prefix_parts = pattern.removesuffix(BELOW).split("/"), prefix.split("/")
    agrees = all(
        one == other or CLAIM.fullmatch(one)
        for one, other in zip(pattern_parts, prefix_parts, strict=False)
    )
    return agrees and (pattern.endswith(BELOW) or len(pattern_parts) > len(prefix_parts))


# With too little effect


def unrotated(file: TokensFile, routes: Iterable[GuardedRoute]) -> tuple[UnrotatedKey, ...]:
    """Return the revocations of a tokens_file that no rotation has followed, by their streams."""
    done = {pattern: frozenset(names) for pattern, names in file.rotated_for.items()}
    return _by_streams(it for it in _revoked(file, routes) if not _has_rotated(done, it))


def unrotated_after(
    earlier: Iterable[UnrotatedKey],
    before: TokensFile,
    after: TokensFile,
    routes: Iterable[GuardedRoute],
) -> tuple[UnrotatedKey, ...]:
    """Return what has no key of a higher version than `before` that file was changed.

    That is of the `earlier` ones, and of the tokens that were taken out of the file.
    """
    removed = [before.tokens[digest] for digest in before.tokens.keys() - after.tokens.keys()]
    readers = (
        _Reader(route.prefix, streams, f"removed token {token.name}")
        for route in _keyed(routes)
        if "tokens" in route.kinds
        for token in removed
        for streams in _readable(token, route.prefix)
    )
    raised = [
        streams
        for streams, version in after.reader_keys.items()
        if version > before.reader_keys.get(streams, 0)
    ]
    found = (*earlier, *_by_streams(readers))
    return tuple(it for it in found if not any(_covers(one, it.streams) for one in raised))


def rotated_for(file: TokensFile, streams: str, routes: Iterable[GuardedRoute]) -> tuple[str, ...]:
    """Return the revoked readers of a file who lose their keys by a rotation of these streams."""
    return tuple(sorted({it.name for it in _revoked(file, routes) if _covers(streams, it.streams)}))


class _Reader(NamedTuple):
    prefix: str
    streams: str
    name: str


def _keyed(routes: Iterable[GuardedRoute]) -> Iterator[GuardedRoute]:
    return (route for route in routes if route.has_reader_keys)


def _revoked(file: TokensFile, routes: Iterable[GuardedRoute]) -> Iterator[_Reader]:
    signed = [*_signed(file.revocations)]
    named = [it for it in file.tokens.values() if it.name in file.revocations.names]
    for route in _keyed(routes):
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


def _by_streams(readers: Iterable[_Reader]) -> tuple[UnrotatedKey, ...]:
    found: dict[tuple[str, str], set[str]] = {}
    for reader in readers:
        found.setdefault((reader.prefix, reader.streams), set()).add(reader.name)
    return tuple(
        UnrotatedKey(prefix, streams, tuple(sorted(names)))
        for (prefix, streams), names in sorted(found.items())
    )
