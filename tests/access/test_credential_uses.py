"""The last use and the refusals of tokens: counted on every way a request takes, and bounded."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.access import key_sets
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.access.principal import MOST_HOLDERS, CredentialUses, TokenHolder
from headgate_gateway.access.read_tokens import ReadTokens
from headgate_gateway.access.token_guard import Verifier
from headgate_gateway.access.tokens_file import NO_TOKENS
from headgate_gateway.errors import Unauthenticated
from headgate_gateway.features.console.token_page import (
    MOST_GRANTS,
    MOST_REVOCATIONS,
    token_page,
)
from headgate_gateway.features.issued_tokens import TokenRequest, sign
from headgate_gateway.features.questions.tokens import MOST_SIGNED, ListTokens, RevocationRow
from headgate_gateway.settings import Settings
from tests.support.guarded_gateway import bearer, guarded
from tests.support.keys_files import new_keys_file
from tests.support.serving import EDGE, PREFIX, get, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.features.questions.tokens import TokenPage
    from tests.support.serving import Serving

NOW = 1_000_000_000.0
READ, ALL = f"{PREFIX}/a/s?offset=-1", bearer("all")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Serving]:
    async with guarded(tmp_path, long_poll_timeout=0.1) as made:
        yield made


def used_at(gateway: Serving, name: str) -> float:
    return gateway.services.credential_uses.static[f"token {name}"].at


@pytest.mark.parametrize(
    "request_text",
    [
        pytest.param(get(READ, ALL), id="a-read"),
        pytest.param(get(f"{EDGE}/a/s?offset=-1", ALL), id="a-read-of-an-origin"),
        pytest.param(get(READ, ALL, "X-Mine: 1"), id="a-read-with-own-fields"),
        pytest.param(post(f"{PREFIX}/a/s", b"more", ALL), id="an-append"),
        pytest.param(get(f"{PREFIX}/a/s?offset=now&live=long-poll", ALL), id="a-long-poll"),
    ],
)
async def test_each_request_is_its_tokens_last_use(gateway: Serving, request_text: bytes) -> None:
    for _ in range(4):  # from the second on it is known, and from the third on without its token
        gateway.clock.now += 10
        await gateway.ask(request_text)
        assert used_at(gateway, "all") == gateway.clock.now


async def test_known_requests_need_no_lookup(
    gateway: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = get(READ, ALL)
    await gateway.ask(read)
    looked_up: list[TokenHolder] = []
    monkeypatch.setattr(CredentialUses, "of", lambda _, holder: looked_up.append(holder))
    gateway.clock.now += 10
    for _ in range(3):
        assert (await gateway.ask(read)).status == 200
    assert (looked_up, used_at(gateway, "all")) == ([], gateway.clock.now)


async def test_refused_forbidden_and_unknown_tokens_are_counted_apart(gateway: Serving) -> None:
    uses = gateway.services.credential_uses
    unknown = uses.unknown
    for name, status in (("gone", 401), ("ben", 403), ("ben", 403), ("nobody", 401)):
        assert (await gateway.ask(get(f"{PREFIX}/a/s", bearer(name)))).status == status
    assert (await gateway.ask(get(f"{PREFIX}/a/s"))).status == 401  # without a token
    counts = {it.holder.name: (it.refused, it.forbidden) for it in uses.static.values()}
    assert (counts["gone"], counts["ben"]) == ((1, 0), (0, 2))
    assert uses.static["token gone"].at == 0
    assert "token nobody" not in uses.static
    assert uses.unknown == unknown + 1
    assert "console" not in {it.holder.name for it in uses.static.values()}


def with_file(data: bytes = b"") -> Authorities:
    """Authorities with this content of a tokens_file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return Authorities(Settings(credentials={"tokens_file": file.name}), lambda: NOW)


def test_a_static_token_is_shown_with_its_use() -> None:
    uses = CredentialUses()
    uses.of(TokenHolder("token ann", "ann")).at = NOW
    assert token_page(with_file(_tokens("ann")), uses, ListTokens()).tokens[0].use.used_at == NOW


async def test_a_signed_token_counts_for_its_subject_if_it_is_not_forged(tmp_path: Path) -> None:
    keys = key_sets.load_keys(new_keys_file(tmp_path))
    token = sign(TokenRequest("ann", "/s"), keys, 900, NOW).token
    verifier = Verifier([ReadTokens(lambda: keys, lambda: NO_TOKENS.revocations, 900)])
    forged = f"{token[:-4]}{'AAAA' if token[-4:] != 'AAAA' else 'BBBB'}"
    with pytest.raises(Unauthenticated):
        await verifier.verify(forged, NOW)
    assert (verifier.uses.unknown, len(verifier.uses.signed)) == (1, 0)
    await verifier.verify(token, NOW)
    with pytest.raises(Unauthenticated) as refusal:
        await verifier.verify(token, NOW + 901)
    assert type(refusal.value) is Unauthenticated  # as responses know it
    (use,) = verifier.uses.signed.values()
    assert (use.holder.subject, use.holder.kind) == ("ann", "read-token")
    assert (use.at, use.refused) == (NOW, 1)
    (row,) = token_page(with_file(), verifier.uses, ListTokens()).signed
    assert (row.name, row.subject, row.use.used_at, row.use.refused) == ("ann", "ann", NOW, 1)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_no_more_holders_are_remembered_than_the_bound(more: int) -> None:
    uses = CredentialUses()
    for number in range(MOST_HOLDERS + more):
        uses.of(TokenHolder(f"jwt {number}", f"{number}"))
    uses.of(TokenHolder("token a", "a"))  # of another sort, which has room of its own
    assert len(uses.signed) == MOST_HOLDERS + min(more, 0)
    assert ("jwt 0" in uses.signed) == (more < 1)
    assert len(uses.static) == 1


def test_a_holder_that_is_verified_again_is_not_the_first_to_be_dropped() -> None:
    uses = CredentialUses()
    for number in range(MOST_HOLDERS):
        uses.of(TokenHolder(f"jwt {number}", f"{number}"))
    first = uses.of(TokenHolder("jwt 0", "0"))
    uses.of(TokenHolder("jwt new", "new"))
    assert uses.of(TokenHolder("jwt 0", "0")) is first
    assert "jwt 1" not in uses.signed


# ---------------------------------------------------------------- the report


def _tokens(*names: str, more: str = "", grants: int = 1) -> bytes:
    listed = ", ".join(f'{{ streams = "/s/{n}", operations = ["read"] }}' for n in range(grants))
    entries = (
        f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{number:064x}"\ngrants = [{listed}]\n'
        for number, name in enumerate(names)
    )
    return ("".join(entries) + more).encode()


def page(data: bytes, **question: object) -> TokenPage:
    asked = msgspec.convert({"type": "ListTokens", **question}, ListTokens)
    return token_page(with_file(data), CredentialUses(), asked)


def test_static_tokens_are_listed_by_name_page_by_page_without_their_hashes() -> None:
    data = _tokens("d", "b", "a", "c", "e")
    found, after = [], ""
    for _ in range(3):
        listed = page(data, after=after, limit=2)
        found += [it.name for it in listed.tokens]
        assert listed.tokens_in_all == 5
        assert b"0000000000" not in msgspec.json.encode(listed)
        after = listed.after or "none"
    assert (found, after) == (["a", "b", "c", "d", "e"], "none")


def test_tokens_are_found_by_a_part_of_their_names() -> None:
    listed = page(_tokens("Billing", "audit", "rebill"), text="BILL")
    assert [it.name for it in listed.tokens] == ["Billing", "rebill"]


@pytest.mark.parametrize("grants", [MOST_GRANTS - 1, MOST_GRANTS, MOST_GRANTS + 1])
def test_a_token_shows_a_bounded_number_of_its_grants(grants: int) -> None:
    (token,) = page(_tokens("a", grants=grants)).tokens
    assert (len(token.grants), token.grants_in_all) == (min(grants, MOST_GRANTS), grants)


def test_each_kind_of_revocation_is_listed_up_to_the_bound() -> None:
    more = (
        '[[revoked]]\nname = "a"\n[[revoked]]\njti = "j"\n[[revoked]]\nkid = "k"\n'
        '[[revoked]]\nsub = "s"\nbefore = 2001-09-09T01:46:40Z\n[[revoked]]\nsub = "t"\n'
    )
    listed = page(_tokens("a", more=more))
    assert listed.revocations == (
        RevocationRow("name", "a"),
        RevocationRow("jti", "j"),
        RevocationRow("kid", "k"),
        RevocationRow("sub", "s", NOW),
        RevocationRow("sub", "t"),
    )
    assert listed.tokens[0].is_revoked
    many = "".join(f'[[revoked]]\njti = "{n}"\n' for n in range(MOST_REVOCATIONS + 1))
    listed = page(_tokens("a", more=many))
    assert len(listed.revocations) == MOST_REVOCATIONS
    assert listed.revocations_in_all == MOST_REVOCATIONS + 1


def test_the_holders_of_signed_tokens_that_used_one_last_are_listed() -> None:
    uses = CredentialUses()
    for number in range(MOST_SIGNED + 1):
        uses.of(TokenHolder(f"jwt {number}", f"{number}", "i", "x" * 200 + "\n")).at = number
    listed = token_page(with_file(), uses, ListTokens())
    assert [it.name for it in listed.signed] == [f"{n}" for n in range(MOST_SIGNED, 0, -1)]
    assert listed.signed[0].subject is None  # unprintable: it cannot be revoked by a click
