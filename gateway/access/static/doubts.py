"""Grants and revocations without an effect, mostly because a name or path was mistyped."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from gateway.settings.grants import BELOW, CLAIM

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from gateway.access.static.tokens_file import TokensFile
    from gateway.settings import JwtIssuer

MOST_TOLD = 20  # sentences about one file, each a line of the log
NOWHERE = "which is below no route: it grants nothing"


class PrefixSet(NamedTuple):
    """The prefixes of all routes, and of those that only static tokens open."""

    served: Collection[str]
    by_tokens_alone: Collection[str] = ()


def of_file(path: str, file: TokensFile, prefixes: PrefixSet) -> tuple[str, ...]:
    """Return a sentence for each name and pattern of a tokens_file that matches nothing.

    A route that only static tokens open, and none of the file does, has a sentence as well.
    """
    served, by_tokens_alone = prefixes
    sentences = [
        *chain(_revoked(file), _granted(file, served), _keyed(file, served)),
        *_shut(file, by_tokens_alone),
    ]
    if len(sentences) > MOST_TOLD:
        sentences[MOST_TOLD:] = [
            f"{len(sentences) - MOST_TOLD:,} more names and paths have no effect"
        ]
    return tuple(f"{path}: {sentence}" for sentence in sentences)


def of_issuers(issuers: Sequence[JwtIssuer], prefixes: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each grant to an issuer's tokens whose pattern matches no route."""
    for index, issuer in enumerate(issuers):
        for streams in _astray((grant.streams for grant in issuer.grants), prefixes):
            yield f"jwt_issuers[{index}].grants has {streams}, {NOWHERE}"


def _revoked(file: TokensFile) -> Iterator[str]:
    known = {token.name for token in file.tokens.values()}
    for name in sorted(file.revocations.names - known):
        yield f"revoked has the name {name}, which no token of the file has: it ends nothing"


def _granted(file: TokensFile, prefixes: Collection[str]) -> Iterator[str]:
    holders: dict[str, str] = {}
    for token in file.tokens.values():
        for grant in token.grants:
            holders.setdefault(grant.streams, token.name)
    for streams in _astray(holders, prefixes):
        yield f"the token {holders[streams]} has a grant of {streams}, {NOWHERE}"


def _shut(file: TokensFile, prefixes: Iterable[str]) -> Iterator[str]:
    patterns = {grant.streams for token in file.tokens.values() for grant in token.grants}
    for prefix in prefixes:
        if not any(meets(pattern, prefix) for pattern in patterns):
            yield (
                f"no token has a grant below {prefix}, where auth asks for a token: "
                "it permits nobody anything that anonymous does not"
            )


def _keyed(file: TokensFile, prefixes: Collection[str]) -> Iterator[str]:
    for streams in _astray(file.reader_keys, prefixes):
        yield f"reader_keys has {streams}, which is below no route: it is the version of nothing"


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
