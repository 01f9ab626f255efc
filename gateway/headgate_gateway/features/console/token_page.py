"""The page of the console on the tokens in force: their holders and their use."""

from __future__ import annotations

from heapq import nlargest
from math import inf, isfinite
from typing import TYPE_CHECKING

from headgate_gateway.access.principal import LONGEST_SUBJECT, STATIC
from headgate_gateway.features.questions.tokens import (
    MOST_SIGNED,
    GrantRow,
    ListTokens,
    RevocationRow,
    SignedTokenRow,
    StaticTokenRow,
    TokenKeyRow,
    TokenPage,
    TokenPlace,
    TokenUse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate_gateway.access.authorities import Authorities
    from headgate_gateway.access.principal import CredentialUse, CredentialUses
    from headgate_gateway.access.tokens_file import Revocations, StaticToken

# A page of each is half a megabyte at most, with the longest names and paths.
MOST_GRANTS = 10  # of one token
MOST_REVOCATIONS = 200
MOST_KIDS = 20  # of one source of keys


def token_page(authorities: Authorities, uses: CredentialUses, question: ListTokens) -> TokenPage:
    """Return a page of the static tokens, and what else is known of tokens, without any hash."""
    file, text = authorities.tokens(), question.text.casefold()
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
        keys=tuple(_key_rows(authorities)),
        revocations=tuple(revocations[:MOST_REVOCATIONS]),
        revocations_in_all=len(revocations),
        unknown=uses.unknown,
    )


def _key_rows(authorities: Authorities) -> Iterator[TokenKeyRow]:
    settings = authorities.settings
    if authorities.keys is not None:
        keys = authorities.keys()
        yield TokenKeyRow(
            "read-token",
            "",
            "",
            settings.credentials.keys_file,
            ("EdDSA",),
            keys.verifying.kids[:MOST_KIDS],
            signs="" if keys.signer is None else str(keys.signer.kid),
        )
    if not settings.credentials.jwt_issuers:
        return
    from headgate_gateway.access.jwt_issuers import JwtIssuers  # loaded where there are any

    jwt = authorities.by_kind["jwt"]
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
    places = tuple(TokenPlace(*it) for it in use.places)
    return TokenUse(use.at or None, use.refused, use.forbidden, places)


def _revocations(revoked: Revocations) -> Iterator[RevocationRow]:
    for kind, values in (
        ("name", revoked.names),
        ("jti", revoked.token_ids),
        ("kid", revoked.kids),
    ):
        yield from (RevocationRow(kind, it) for it in sorted(values))
    for subject, before in sorted(revoked.subjects.items()):
        yield RevocationRow("sub", subject, None if before == inf else before)
