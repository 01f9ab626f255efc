"""Public keys, each pinned to the algorithms that it may have signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import base64_to_int

from gateway.access.signed import jws, signatures

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from joserfc.jwk import Key

MOST_KEYS = 100  # issuers have one or two, and some old ones; each costs a check
SHORTEST_RSA, LONGEST_RSA = 2048, 8192  # bits; a longer one would take the loop milliseconds
_OF_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
# The algorithms of each kind of key, by kty and crv; none with a shared secret.
_ALGORITHMS: Final[dict[tuple[object, object], frozenset[str]]] = {
    ("RSA", None): _OF_RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}
_KINDS: Final[dict[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}
_PUBLIC: Final = frozenset({"kty", "kid", "n", "e", "crv", "x", "y"})


class NoKeys(ValueError):
    """An error for a key set without a usable key, in words that follow "it"."""


class PinnedKey(NamedTuple):
    """A key, and the algorithms that it may sign with; equal keys have equal thumbprints."""

    key: Key
    algorithms: frozenset[str]
    thumbprint: str

    def has_signed(self, token: jws.SignedToken) -> bool:
        """Return whether this key has signed a token, for whose algorithm it is pinned."""
        return signatures.is_signed_by(token, self.key)


class KeySet:
    """The keys by their ids; one id may stand for keys of several kinds."""

    def __init__(self, keys: Mapping[str, tuple[PinnedKey, ...]]) -> None:
        self._keys = keys

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of the keys, in the order of the set."""
        return tuple(self._keys)

    def find(self, kid: str, algorithm: str) -> PinnedKey | None:
        """Return the key of that id which may sign by the token's algorithm."""
        fitting = (key for key in self._keys.get(kid, ()) if algorithm in key.algorithms)
        return next(fitting, None)

    def has(self, kid: str, thumbprint: str) -> bool:
        """Return whether a key is still in the set."""
        return any(key.thumbprint == thumbprint for key in self._keys.get(kid, ()))


def parse_keys(data: bytes, algorithms: Collection[str]) -> KeySet:
    """Return the keys of a JSON Web Key Set that sign with one of the algorithms.

    Keys of other kinds, for other uses, too short or without an id are left out (RFC 7517
    section 5). Raises NoKeys if none is left, and ValueError for anything but a key set, both in
    words that follow "it".
    """
    try:
        listed = jws.load_object(data).get("keys")
    except ValueError:
        raise ValueError("is no JSON Web Key Set") from None
    if not isinstance(listed, list):
        raise ValueError("is no JSON Web Key Set")  # noqa: TRY004 - of what is read
    if len(listed) > MOST_KEYS:
        raise ValueError(f"has more than {MOST_KEYS} keys")
    found: dict[str, tuple[PinnedKey, ...]] = {}
    for entry in listed:
        pinned = _pinned(entry, frozenset(algorithms)) if isinstance(entry, dict) else None
        if pinned is not None:
            kid = str(entry["kid"])
            found[kid] = (*found.get(kid, ()), pinned)
    if not found:
        raise NoKeys("has no key with a kid that signs with one of the algorithms")
    return KeySet(found)


def _pinned(entry: jws.Json, required_algorithms: frozenset[str]) -> PinnedKey | None:
    kid, algorithm = entry.get("kid"), entry.get("alg")
    curve = None if entry.get("kty") == "RSA" else entry.get("crv")
    kind = (entry.get("kty"), curve)
    if not all(isinstance(it, str | None) for it in kind):
        return None
    algorithms = _ALGORITHMS.get(kind, frozenset()) & required_algorithms
    if algorithm is not None:
        algorithms &= {str(algorithm)}
    if not (isinstance(kid, str) and kid and algorithms and _is_for_signatures(entry)):
        return None
    public: dict[str, str | list[str]] = {
        name: str(value) for name, value in entry.items() if name in _PUBLIC
    }
    try:
        if "n" in public and not SHORTEST_RSA <= _bits(str(public["n"])) <= LONGEST_RSA:
            return None
        key = _KINDS[str(entry["kty"])].import_key(public)
        key.get_op_key("verify")  # a point on its curve, say
        return PinnedKey(key, algorithms, key.thumbprint())
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _bits(number: str) -> int:
    return base64_to_int(number).bit_length()


def _is_for_signatures(entry: jws.Json) -> bool:
    operations = entry.get("key_ops")
    allows = operations is None or (
        isinstance(operations, list) and ("verify" in operations or "sign" in operations)
    )
    return allows and entry.get("use", "sig") == "sig"
