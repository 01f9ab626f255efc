"""Signatures of tokens, by joserfc."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from joserfc import jws
from joserfc.errors import JoseError
from typing_extensions import override

from gateway.access.credentials import LONGEST_TOKEN

if TYPE_CHECKING:
    from joserfc._rfc7515.model import JWSAlgModel
    from joserfc.jwk import Key

    from gateway.access.signed.jws import Json, SignedToken


class _Registry(jws.JWSRegistry):
    """joserfc's algorithms without its warnings: which are allowed is pinned for each key."""

    max_header_length = LONGEST_TOKEN

    @override
    def get_alg(self, name: str) -> JWSAlgModel:
        assert self.allowed, "nothing is allowed by default"
        if name not in self.allowed:
            raise JoseError("the algorithm is not allowed")
        return self.algorithms[name]


def is_signed_by(token: SignedToken, key: Key) -> bool:
    """Return whether a key, which is pinned for the token's algorithm, made the signature."""
    registry = _Registry(algorithms=[token.algorithm], strict_check_header=False)
    try:
        jws.deserialize_compact(token.text, key, registry=registry)
    except (JoseError, ValueError):
        return False
    return True


def sign(header: Json, claims: Json, key: Key) -> str:
    """Return a token of these claims, signed by a private key."""
    registry = _Registry(algorithms=[str(header["alg"])])
    payload = json.dumps(claims, separators=(",", ":"))
    return jws.serialize_compact(header, payload, key, registry=registry)
