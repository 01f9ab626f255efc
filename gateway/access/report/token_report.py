"""The report on the tokens in force: who has one and uses it, and which have too little effect."""

from __future__ import annotations

from heapq import nlargest
from math import inf, isfinite
from typing import TYPE_CHECKING, NamedTuple

from gateway.access.principal import LONGEST_SUBJECT, STATIC
from gateway.access.report.findings import (
    MOST_TOLD,
    Findings,
    UnrotatedKey,
    findings,
    grants_of_issuers,
    guarded_routes,
    unrotated_after,
)
from gateway.access.tokens_file import parse_tokens
from gateway.settings.reading.files import whole
from gateway.telemetry.inspection import (
    GrantRow,
    ListTokens,
    RevocationRow,
    SignedTokenRow,
    StaticTokenRow,
    TokenKeyRow,
    TokenPage,
    TokenUse,
)
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.access.contract import Authority
    from gateway.access.key_sets import Keys
    from gateway.access.principal import CredentialUse, CredentialUses
    from gateway.access.report.findings import GuardedRoute
    from gateway.access.tokens_file import Revocations, StaticToken, TokensFile
    from gateway.settings import Settings

# A page of each is half a megabyte at most, with the longest names and paths.
MOST_SIGNED = 50  # holders of signed tokens, those of the last requests
MOST_GRANTS = 10  # of one token
MOST_REVOCATIONS = 200
MOST_KIDS = 20  # of one source of keys


class ReportedFile(NamedTuple):
    """The content of a tokens_file, and what is found in it."""

    file: TokensFile
    found: Findings = Findings()


def parse_reported(routes: Sequence[GuardedRoute], path: str, data: bytes) -> ReportedFile:
    """Parse a tokens_file, and look at it. Raises ValueError with a line for each mistake."""
    file = parse_tokens(path, data)
    return ReportedFile(file, findings(path, file, routes))


class TokenReport:
    """The tokens in force in one process, without their hashes and keys.

    `reported` and `keys` return the present content of the files.
    """

    def __init__(
        self,
        settings: Settings,
        reported: Callable[[], ReportedFile],
        keys: Callable[[], Keys] | None,
        authorities: Mapping[str, Authority],
    ) -> None:
        self._settings = settings
        self._reported = reported
        self._keys = keys
        self._authorities = authorities
        self._routes = guarded_routes(settings)
        self._last_file = reported().file
        # Of tokens that were removed from the file, whose streams' keys were not rotated since.
        self._removed: tuple[UnrotatedKey, ...] = ()

    # What has too little effect

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each part of the settings and the file with too little effect."""
        issuers = grants_of_issuers(self._settings)
        return (*issuers, *self._reported().found.without_effect, *self._not_rotated())

    def warn(self) -> None:
        """Log the sentences, at the start."""
        for sentence in grants_of_issuers(self._settings):
            log.warning("access.no_effect", what=sentence)
        self._warn_of_file()

    def update(self) -> None:
        """Log what a change of the file has revoked, and the sentences about it."""
        before, after = self._last_file, self._reported().file
        self._last_file = after
        if revoked := after.revocations.new_since(before.revocations):
            log.info("access.revoked", what=", ".join(revoked))
        removed = unrotated_after(self._removed, before, after, self._routes)
        self._removed = removed[:MOST_TOLD]
        self._warn_of_file()

    def notes(self) -> dict[str, str | None]:
        """Return the sentences about each route with reader keys, or None where there is none."""
        told: dict[str, list[str]] = {it.prefix: [] for it in self._routes if it.has_reader_keys}
        for one in self._unrotated()[:MOST_TOLD]:
            told[one.prefix].append(one.sentence)
        return {f"reader-keys {prefix}": "; ".join(it) or None for prefix, it in told.items()}

    def _warn_of_file(self) -> None:
        for sentence in self._reported().found.without_effect:
            log.warning("access.no_effect", what=sentence)
        for sentence in self._not_rotated()[:MOST_TOLD]:
            log.warning("access.not_rotated", what=sentence)

    def _not_rotated(self) -> tuple[str, ...]:
        path = whole(self._settings.tokens_file)
        return tuple(f"{path}: {it.sentence}" for it in self._unrotated())

    def _unrotated(self) -> tuple[UnrotatedKey, ...]:
        return (*self._reported().found.unrotated, *self._removed)

    # The page of the console

    def page(self, uses: CredentialUses, question: ListTokens) -> TokenPage:
        """Return a page of the static tokens, and what else is known of tokens."""
        file, text = self._reported().file, question.text.casefold()
        found = sorted(
            (it for it in file.tokens.values() if text in it.name.casefold()),
            key=lambda token: token.name,
        )
        following = [it for it in found if it.name > question.after]
        shown = following[: question.limit]
        revocations = [*_revocations(file.revocations)]
        return TokenPage(
            tokens=tuple(_static(it, file.revocations, uses) for it in shown),
            after=shown[-1].name if len(following) > len(shown) else None,
            tokens_in_all=len(found),
            signed=tuple(_signed(it) for it in _newest(uses.signed.values(), text)),
            keys=tuple(self._key_rows()),
            revocations=tuple(revocations[:MOST_REVOCATIONS]),
            revocations_in_all=len(revocations),
            unknown=uses.unknown,
        )

    def _key_rows(self) -> Iterator[TokenKeyRow]:
        if self._keys is not None:
            keys = self._keys()
            yield TokenKeyRow(
                "read-token",
                "",
                "",
                self._settings.keys_file,
                ("EdDSA",),
                keys.verifying.kids[:MOST_KIDS],
                signs="" if keys.signer is None else str(keys.signer.kid),
            )
        if not self._settings.jwt_issuers:
            return
        from gateway.access.jwt_issuers import JwtIssuers  # loaded where there are any

        jwt = self._authorities.get("jwt")
        assert isinstance(jwt, JwtIssuers), "the kind is there with its setting"
        for issuer, source in jwt.issuers.values():
            yield TokenKeyRow(
                "jwt",
                issuer.issuer,
                issuer.audience,
                issuer.jwks.partition("?")[0],  # the query of a URL may have a secret
                tuple(issuer.algorithms),
                () if source.keys is None else source.keys.kids[:MOST_KIDS],
            )


def _static(token: StaticToken, revocations: Revocations, uses: CredentialUses) -> StaticTokenRow:
    use = uses.static.get(f"{STATIC} {token.name}")
    grants = token.grants[:MOST_GRANTS]
    return StaticTokenRow(
        token.name,
        tuple(GrantRow(it.streams, tuple(sorted(it.operations))) for it in grants),
        len(token.grants),
        token.until if isfinite(token.until) else None,
        token.name in revocations.names,
        TokenUse() if use is None else _use(use),
    )


def _newest(uses: Iterable[CredentialUse], text: str) -> list[CredentialUse]:
    found = (it for it in uses if text in it.holder.name.casefold())
    return nlargest(MOST_SIGNED, found, key=lambda use: use.at)


def _signed(use: CredentialUse) -> SignedTokenRow:
    holder = use.holder
    subject = holder.subject
    if subject is None or len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        subject = None
    return SignedTokenRow(
        holder.kind, holder.account, holder.name, holder.issuer, subject, _use(use)
    )


def _use(use: CredentialUse) -> TokenUse:
    return TokenUse(use.at or None, use.refused, use.forbidden)


def _revocations(revoked: Revocations) -> Iterator[RevocationRow]:
    for kind, values in (
        ("name", revoked.names),
        ("jti", revoked.token_ids),
        ("kid", revoked.kids),
    ):
        yield from (RevocationRow(kind, it) for it in sorted(values))
    for subject, before in sorted(revoked.subjects.items()):
        yield RevocationRow("sub", subject, None if before == inf else before)
