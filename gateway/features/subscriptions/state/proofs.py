"""Proofs of principals as bytes, so that a principal can be judged again after a restart."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.access.principal import Principal

# The modules of signed tokens load a library of 10 MB, so they are imported where one is stored.
_PLACES = {
    "StaticToken": "gateway.access.tokens_file:StaticToken",
    "Proof": "gateway.access.read_tokens:Proof",
    "IssuerProof": "gateway.access.jwt_issuers:IssuerProof",
}
# Issuers whose keys are fetched have none yet when a process starts.
_JUDGED_LATER = frozenset({"IssuerProof"})


class StoredProof(msgspec.Struct, frozen=True, array_like=True):
    """A proof by the name of its class; no proof has a token in it."""

    kind: str
    encoded: bytes

    @property
    def proof(self) -> object:
        """The proof, for its authority."""
        if self.kind not in _PLACES:
            return None
        proof_class = pkgutil.resolve_name(_PLACES[self.kind])
        return msgspec.msgpack.decode(self.encoded, type=proof_class)

    @property
    def is_judged_at_once(self) -> bool:
        """True if its authority can judge it as soon as a process starts."""
        return self.kind not in _JUDGED_LATER


def stored_proof(principal: Principal) -> StoredProof:
    """Return the proof of a principal; that of the console ends with its process."""
    kind = type(principal.proof).__name__
    known = principal.proof if kind in _PLACES else None
    return StoredProof(kind if kind in _PLACES else "", msgspec.msgpack.encode(known))
