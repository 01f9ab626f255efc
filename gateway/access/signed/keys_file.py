"""The file of keys that sign and verify read tokens, and of the secret of reader keys."""

from __future__ import annotations

import json
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode
from typing_extensions import override

from gateway.access.signed import signatures
from gateway.access.signed.jws import load_object
from gateway.access.signed.key_sets import parse_keys
from gateway.access.small_files import read_file

if TYPE_CHECKING:
    from gateway.access.signed.jws import Json
    from gateway.access.signed.key_sets import KeySet

ALGORITHMS: Final = ("EdDSA", "Ed25519")  # two names of one
SECRET_BYTES = 32
READER_KID: Final = "reader-keys"
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
        assert self.signer is not None, "who has none is told before"
        return signatures.sign(header, claims, self.signer)

    @override
    def __repr__(self) -> str:
        return f"Keys({len(self.verifying)} verify)"


def parse_keys_file(path: str, data: bytes) -> Keys:
    """Parse the keys_file at `path`; raises ValueError with one sentence, which repeats no key."""
    try:
        verifying = parse_keys(data, ALGORITHMS)
    except ValueError as cause:
        raise ValueError(f"{path} {cause}: headgate token keys NEW_FILE makes one") from None
    listed = _listed(load_object(data))
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
    """Refuse a file of private keys that others may read: who reads it signs.

    Its group may read it where root owns it, as a container's secrets are mounted; so may root, who
    makes and rotates it. Raises OSError or ValueError.
    """
    it = os.stat(path)  # noqa: PTH116 - Path raises on odd names
    is_users_own = it.st_uid == os.geteuid() and it.st_uid != ROOT
    refused = OTHERS | GROUP if is_users_own else OTHERS | stat.S_IWGRP
    if it.st_mode & refused:
        raise ValueError(f"{path} may be read by others, who could sign tokens: chmod 600 {path}")


def new_keys() -> Json:
    """Make a file's content: a key that signs, the one that will be next, and a secret."""
    secret = urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    reader = {"kty": "oct", "kid": READER_KID, "k": secret}
    return {"keys": [_new_key(), _new_key(), reader]}


def rotated(content: Json) -> Json:
    """Rotate the content: the next key signs, and the one before it still verifies.

    The next one was published all the while, so whoever verifies knows it already. What signs no
    more is of no use to anybody but a thief, and loses its private half.
    """
    listed = _listed(content)
    signing = [entry for entry in listed if entry.get("kty") == "OKP"]
    others = [entry for entry in listed if entry.get("kty") != "OKP"]
    if len(signing) < 2 or "d" not in signing[1]:
        raise ValueError("has no second private key, which would be the next")
    retired = {name: value for name, value in signing[0].items() if name != "d"}
    return {"keys": [signing[1], _new_key(), retired, *others]}


def public(content: Json) -> Json:
    """Return the content for a process that only verifies: no private part, and no secret."""
    listed = [entry for entry in _listed(content) if entry.get("kty") == "OKP"]
    public_names = ("kty", "crv", "kid", "x", "alg", "use")
    return {
        "keys": [{name: entry[name] for name in public_names if name in entry} for entry in listed]
    }


def written(content: Json) -> bytes:
    """Return the content as the file has it."""
    return json.dumps(content, indent=2).encode() + b"\n"


def _new_key() -> Json:
    key = OKPKey.generate_key("Ed25519")
    kid = key.thumbprint()[:16]
    return {**key.as_dict(private=True), "kid": kid, "alg": "EdDSA", "use": "sig"}


def _listed(content: Json) -> list[Json]:
    listed = content.get("keys")
    return [it for it in listed if isinstance(it, dict)] if isinstance(listed, list) else []


def _reader_secret(listed: list[Json]) -> bytes | None:
    found = [entry for entry in listed if entry.get("kty") == "oct"]
    if not found:
        return None
    secret = urlsafe_b64decode(str(found[0]["k"]).encode())
    if len(secret) < SECRET_BYTES:
        raise ValueError("too short")
    return secret
