"""What a route remembers of those whom it has verified has an end, however long tokens are."""

from __future__ import annotations

import pytest

from headgate_gateway.access import token_guard
from headgate_gateway.access.principal import Principal
from headgate_gateway.access.token_guard import LEAST_BYTES, Verifier

NOW = 1_000_000_000.0


class Anybody:
    """Vouches for whoever comes."""

    def owns(self, _token: str) -> bool:
        return True

    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        return Principal(token[:8], [], now + 1, digest=digest)

    def upholds(self, _principal: Principal, _now: float) -> bool:
        return False


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> Verifier:
    monkeypatch.setattr(token_guard, "REMEMBERED_BYTES", 8 * LEAST_BYTES)
    return Verifier([Anybody()])


@pytest.mark.parametrize(("length", "kept"), [(10, 8), (LEAST_BYTES, 8), (4 * LEAST_BYTES, 2)])
async def test_a_verifier_caches_tokens_up_to_its_bounds(
    route: Verifier, length: int, kept: int
) -> None:
    tokens = [f"{number:08}".ljust(length, "x") for number in range(10)]
    for token in tokens:
        await route.verify(token, NOW)
    assert [token for token in tokens if route.known(token, NOW)] == tokens[-kept:]


async def test_a_token_verified_repeatedly_occupies_one_cache_entry(route: Verifier) -> None:
    await route.verify("often", NOW)
    for number in range(100):
        assert route.known("often", NOW) is not None
        await route.verify(f"{number}", NOW)
        await route.verify("often", NOW)
    assert len(route._recent) == 8


async def test_ended_principals_free_their_memory_in_the_verifier(route: Verifier) -> None:
    for number in range(10):
        await route.verify(f"{number}", NOW)
    assert len([*route.recheck(NOW)]) == 8
    assert route._remembered_bytes == 0
