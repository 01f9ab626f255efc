"""The entries of a tokens_file that have no effect: mostly names and paths that were mistyped."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.access.tokens_file import NO_TOKENS, TokensFile, parse_tokens
from headgate_gateway.settings.grants import BELOW, CLAIM
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from headgate_gateway.settings import Settings

MOST_LISTED = 20  # sentences of a kind, each a line of the log
NOWHERE = "which is below no route: it grants nothing"
_BY_TOKENS_ALONE = frozenset({"tokens"})


class GuardedRoute(NamedTuple):
    """A route, and the kinds of credentials by which its clients are known."""

    prefix: str
    kinds: frozenset[str]


def guarded_routes(settings: Settings) -> tuple[GuardedRoute, ...]:
    """Return the routes of the settings, also those that write streams of others."""
    return tuple(
        GuardedRoute(one.prefix, frozenset(settings.auth_of(one))) for one in settings.guarded
    )


def findings(path: str, file: TokensFile, routes: Sequence[GuardedRoute]) -> tuple[str, ...]:
    """Return a sentence for each entry of the file at a path that has no effect."""
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
    return tuple(f"{path}: {it}" for it in sentences)


class ExaminedTokens(NamedTuple):
    """A tokens_file, and a sentence for each of its entries that has no effect."""

    file: TokensFile
    without_effect: tuple[str, ...] = ()


NO_FILE = ExaminedTokens(NO_TOKENS)


def examine(routes: Sequence[GuardedRoute], path: str, data: bytes) -> ExaminedTokens:
    """Parse the tokens_file at a path, and look for what has no effect.

    Raises ValueError as `parse_tokens`. For a large file, call it in a thread.
    """
    file = parse_tokens(path, data)
    return ExaminedTokens(file, findings(path, file, routes))


class TokensReport:
    """The warnings about entries of a tokens_file and of settings."""

    def __init__(self, settings: Settings, tokens: ExaminedTokens) -> None:
        """Report on the first content of the file."""
        self._settings = settings
        self._tokens = tokens

    def change(self, tokens: ExaminedTokens) -> None:
        """Report on another content of the file, and log its warnings."""
        before, self._tokens = self._tokens, tokens
        if revoked := tokens.file.revocations.new_since(before.file.revocations):
            log.info("access.revoked", what=", ".join(revoked))
        _warn(tokens.without_effect)

    def warn(self) -> None:
        """Log all warnings."""
        _warn(self.warnings())

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each setting or entry of the file that has no effect."""
        return (*grants_of_issuers(self._settings), *self._tokens.without_effect)


def _warn(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        log.warning("access.no_effect", what=sentence)


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
