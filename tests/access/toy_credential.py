"""A kind of credential that is all in this module: what it takes to add one."""

from __future__ import annotations

import hmac
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.access.contract import Authority
from headgate_gateway.access.operations import BELOW, Grant
from headgate_gateway.access.principal import Principal
from headgate_gateway.errors import Unauthenticated
from headgate_gateway.settings.credential_kinds.declaration import CredentialKind
from headgate_gateway.settings.reading.kinds import FilePath
from headgate_gateway.settings.reading.tables import Table, setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.access.authorities import Authorities

MARK = "toy-"


class ToySettings(Table):
    """The line that the kind needs in `headgate_gateway.settings.declared`."""

    toy_file: FilePath = setting("", description="File with the key that signs toy tokens.")


def signed(name: str, key: bytes) -> str:
    """Return somebody's toy token."""
    return f"{MARK}{name}-{hmac.new(key, name.encode(), sha256).hexdigest()}"


class ToyTokens(Authority):
    """The authority for toy tokens, whose holders may read all streams below their names."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key

    @override
    def owns(self, token: str) -> bool:
        return token.startswith(MARK)

    @override
    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        name = token.removeprefix(MARK).partition("-")[0]
        key = self._key()
        if not hmac.compare_digest(token, signed(name, key)):
            raise Unauthenticated("the toy token has a signature that is wrong", is_refused=True)
        grants = [Grant(f"/v1/stream/{name}{BELOW}", frozenset({"read", "create"}))]
        return Principal(name, grants, inf, proof=key, digest=digest, account=f"toy {name}")

    @override
    def upholds(self, principal: Principal, now: float) -> bool:
        return principal.proof == self._key()


def authority(authorities: Authorities) -> ToyTokens:
    """Return the authority for toy tokens, whose key it watches."""
    path: str = vars(authorities.settings)["toy_file"]
    return ToyTokens(authorities.watch("toy_file", path, lambda _, data: data))


KIND = CredentialKind(
    name="toy",
    title="a toy token",
    setting="toy_file",
    make="tests.access.toy_credential:authority",
)
