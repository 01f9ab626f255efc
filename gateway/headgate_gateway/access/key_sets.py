"""Key sets: public keys pinned to their algorithms, and the file of this gateway's own keys."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import base64_to_int, urlsafe_b64decode
from typing_extensions import override

from headgate_gateway.access.credentials import LONGEST_TOKEN
from headgate_gateway.access.signed_tokens import listed_keys, load_object, refused
from headgate_gateway.small_files import read_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from joserfc.jwa import JWSAlgModel
    from joserfc.jwk import Key

    from headgate_gateway.access.signed_tokens import Json, SignedToken


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


class Registry(jws.JWSRegistry):
    """joserfc's algorithms without its warnings: which are allowed is pinned for each key."""

    max_header_length = LONGEST_TOKEN

    @override
    def get_alg(self, name: str) -> JWSAlgModel:
        assert self.allowed, "nothing is allowed by default"
        if name not in self.allowed:
            raise JoseError("the algorithm is not allowed")
        return self.algorithms[name]


class PinnedKey(NamedTuple):
    """A key, and the algorithms that it may sign with; equal keys have equal thumbprints."""

    key: Key
    algorithms: frozenset[str]
    thumbprint: str

    def has_signed(self, token: SignedToken) -> bool:
        """Return whether this key has signed a token, for whose algorithm it is pinned."""
        registry = Registry(algorithms=[token.algorithm], strict_check_header=False)
        try:
            jws.deserialize_compact(token.text, self.key, registry=registry)
        except (JoseError, ValueError):
            return False
        return True


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

    def signer_of(self, token: SignedToken) -> PinnedKey:
        """Return the key that is pinned for a token's id and algorithm, and has signed it.

        Raises Unauthenticated.
        """
        keys = self._keys.get(token.kid, ())
        key = next((key for key in keys if token.algorithm in key.algorithms), None)
        if key is None:
            raise refused("is signed by a key that is unknown, or not with its algorithm")
        if not key.has_signed(token):
            raise refused("has a signature that is wrong")
        return key

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
        listed = load_object(data).get("keys")
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


def _pinned(entry: Json, required_algorithms: frozenset[str]) -> PinnedKey | None:
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
        bits = base64_to_int(str(public["n"])).bit_length() if "n" in public else SHORTEST_RSA
        if not SHORTEST_RSA <= bits <= LONGEST_RSA:
            return None
        key = _KINDS[str(entry["kty"])].import_key(public)
        key.get_op_key("verify")  # a point on its curve, say
        return PinnedKey(key, algorithms, key.thumbprint())
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _is_for_signatures(entry: Json) -> bool:
    operations = entry.get("key_ops")
    allows = operations is None or (
        isinstance(operations, list) and ("verify" in operations or "sign" in operations)
    )
    return allows and entry.get("use", "sig") == "sig"


ALGORITHMS: Final = ("EdDSA", "Ed25519")  # two names of one algorithm
SECRET_BYTES = 32
ROOT: Final = 0
OTHERS, GROUP = stat.S_IRWXO, stat.S_IRWXG


class Keys(NamedTuple):
    """The parsed content of a keys_file; `signer` is None if it has no private key.

    `reader_secret` is what reader keys are made with, None where the file has none.
    """

    verifying: KeySet
    signer: OKPKey | None
    reader_secret: bytes | None

    def sign(self, header: Json, claims: Json) -> str:
        """Return a token of these claims, signed by the private key."""
        assert self.signer is not None, "callers refuse a file without a private key"
        registry = Registry(algorithms=[str(header["alg"])])
        payload = json.dumps(claims, separators=(",", ":"))
        return jws.serialize_compact(header, payload, self.signer, registry=registry)

    @override
    def __repr__(self) -> str:
        return f"Keys({len(self.verifying)} verify)"


def parse_keys_file(path: str, data: bytes) -> Keys:
    """Parse the keys_file at `path`; raises ValueError with one sentence, which repeats no key."""
    try:
        verifying = parse_keys(data, ALGORITHMS)
    except ValueError as cause:
        raise ValueError(f"{path} {cause}: headgate token keys NEW_FILE makes one") from None
    listed = listed_keys(load_object(data))
    if any({"d", "k"} & entry.keys() for entry in listed):
        check_mode(path)
    private = [entry for entry in listed if entry.get("crv") == "Ed25519" and "d" in entry]
    try:
        signer = OKPKey.import_key(private[0]) if private else None  # type: ignore[arg-type] # JSON
        return Keys(verifying, signer, _reader_secret(listed))
    except (JoseError, ValueError, TypeError, KeyError):
        raise ValueError(f"{path} has a private key that is none") from None


def load_keys(path: str) -> Keys:
    """Read and parse a keys_file. Raises OSError or ValueError, which repeats no key."""
    return parse_keys_file(path, read_file(path))


def check_mode(path: str) -> None:
    """Refuse a file of private keys that others may read: they could sign with them.

    Its group may read it where root owns it, as a container's secrets are mounted; so may root, who
    makes and rotates it. Raises OSError or ValueError.
    """
    it = os.stat(path)  # noqa: PTH116 - Path raises on odd names
    is_users_own = it.st_uid == os.geteuid() and it.st_uid != ROOT
    refused = OTHERS | GROUP if is_users_own else OTHERS | stat.S_IWGRP
    if it.st_mode & refused:
        raise ValueError(f"{path} may be read by others, who could sign tokens: chmod 600 {path}")


def _reader_secret(listed: list[Json]) -> bytes | None:
    found = [entry for entry in listed if entry.get("kty") == "oct"]
    if not found:
        return None
    secret = urlsafe_b64decode(str(found[0]["k"]).encode())
    if len(secret) < SECRET_BYTES:
        raise ValueError("too short")
    return secret
