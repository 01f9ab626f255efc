"""The keys of a route's webhooks and tokens: they survive restarts, rotate, and are never shown.

A webhook is signed with Ed25519 over `t.body`. A token is an HMAC over the subscription, the
generation and its time. Neither key is readable through any interface: they are in a private file,
or in a document of the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headgate_gateway import small_files
from headgate_gateway.errors import LogUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from headgate_gateway.features.subscriptions.delivery.documents import Documents


FILE = "headgate.subscriptions.key"
DOCUMENT = "keys"  # no other document has a name that begins with this


async def read_keys(documents: Documents) -> bytes | None:
    """Return the keys that are stored beside documents, or None. Raises LogUnavailable."""
    folder = documents.private_folder
    if folder is None:
        return await documents.read_one(DOCUMENT)
    return await asyncio.to_thread(_read_file, folder / FILE)


async def write_keys(documents: Documents, content: bytes) -> None:
    """Replace the keys that are stored beside documents, durably. Raises LogUnavailable."""
    folder = documents.private_folder
    if folder is None:
        await documents.write({DOCUMENT: content})
    else:
        await asyncio.to_thread(_write_file, folder / FILE, content)


def _read_file(file: Path) -> bytes | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as opened:
            return opened.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogUnavailable(f"the keys in {FILE} cannot be read: {error}") from None


def _write_file(file: Path, content: bytes) -> None:
    """Write the file under another name first, so that a crash leaves the old or the new."""
    from headgate_gateway.logs.sqlite.data_folder import sync_folder  # loaded with the log there

    draft = file.with_name(f"{FILE}.new")
    try:
        draft.unlink(missing_ok=True)
        small_files.create(draft, content)
        draft.rename(file)
        sync_folder(file.parent)
    except OSError as error:
        raise LogUnavailable(f"the keys in {FILE} cannot be written: {error}") from None


ROTATE_S = 30 * 86_400.0  # how long a key signs
# A new key is published for so long before it signs: caches store the keys for 300 s.
AHEAD_S = 900.0
# A former key is published for so long: receivers accept signatures for five minutes or so.
BEHIND_S = 86_400.0
LONGEST_TOKEN = 512
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class SigningKey(msgspec.Struct, frozen=True):
    """A private key, as 32 bytes, and from when on it signs (epoch seconds)."""

    private: bytes
    signs_from: float


class StoredKeys(msgspec.Struct, frozen=True):
    """The content of a store: the secret of tokens, and the keys that sign, the oldest first."""

    secret: bytes
    keys: tuple[SigningKey, ...]


class TokenScope(NamedTuple):
    """The scope of a token: a generation of a subscription, since a time (epoch seconds)."""

    birth: str
    generation: int
    issued_at: float


class KeyRing:
    """The keys of one route, which are stored beside its documents."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._content: StoredKeys | None = None
        self._preparing = asyncio.Lock()

    async def prepare(self, now: float) -> None:
        """Read or make the keys, and rotate them if it is time. Raises LogUnavailable."""
        if self.is_ready(now):
            return
        async with self._preparing:
            content = self._content
            if content is None:
                content = await self._read_store() or StoredKeys(secrets.token_bytes(32), ())
            renewed = _rotate(content, now)
            if renewed is not content:
                await write_keys(self._documents, msgspec.json.encode(renewed))
            self._content = renewed

    def is_ready(self, now: float) -> bool:
        """Return whether the keys are there, and need no rotation."""
        return self._content is not None and _rotate(self._content, now) is self._content

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set."""
        return {"keys": [_public_jwk(key) for key in self._keys]}

    def key_id(self, now: float) -> str:
        """Return the id of the key that signs now."""
        return str(_public_jwk(self._active(now))["kid"])

    def signature(self, body: bytes, now: float) -> str:
        """Return the value of Webhook-Signature for a body that is sent now."""
        timestamp = int(now)
        signed = _private(self._active(now)).sign(b"%d.%b" % (timestamp, body))
        return f"t={timestamp},kid={self.key_id(now)},ed25519={_text(signed)}"

    def token(self, scope: TokenScope) -> str:
        """Return a token of a scope."""
        encoded = _text(msgspec.json.encode(scope))
        return f"{encoded}.{_text(self._mac(encoded))}"

    def scope_of(self, token: str) -> TokenScope | None:
        """Return the scope of a token; None for one that was not issued here."""
        from joserfc.util import urlsafe_b64decode

        if len(token) > LONGEST_TOKEN or _TOKEN.fullmatch(token) is None:
            return None
        encoded, _, mac = token.partition(".")
        if not hmac.compare_digest(_text(self._mac(encoded)).encode(), mac.encode()):
            return None
        return msgspec.json.decode(urlsafe_b64decode(encoded.encode()), type=TokenScope)

    @property
    def _keys(self) -> tuple[SigningKey, ...]:
        assert self._content is not None, "prepared"
        return self._content.keys

    def _active(self, now: float) -> SigningKey:
        """Return the newest key that signs already."""
        signing = [key for key in self._keys if key.signs_from <= now]
        return signing[-1] if signing else self._keys[0]

    def _mac(self, encoded: str) -> bytes:
        assert self._content is not None, "prepared"
        return hmac.digest(self._content.secret, encoded.encode(), hashlib.sha256)

    async def _read_store(self) -> StoredKeys | None:
        stored = await read_keys(self._documents)
        try:
            return None if stored is None else msgspec.json.decode(stored, type=StoredKeys)
        except msgspec.DecodeError as error:
            place = "the log" if self._documents.private_folder is None else FILE
            raise LogUnavailable(f"the keys in {place} cannot be read: {error}") from None


def _rotate(content: StoredKeys, now: float) -> StoredKeys:
    """Return the keys with a new one if the last has signed for long, and without old ones."""
    keys = list(content.keys)
    if not keys:
        keys.append(SigningKey(secrets.token_bytes(32), now))
    elif now >= keys[-1].signs_from + ROTATE_S:
        keys.append(SigningKey(secrets.token_bytes(32), now + AHEAD_S))
    while len(keys) > 1 and keys[1].signs_from + BEHIND_S < now:
        del keys[0]
    return content if tuple(keys) == content.keys else StoredKeys(content.secret, tuple(keys))


def _private(key: SigningKey) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(key.private)


def _public_jwk(key: SigningKey) -> dict[str, Any]:
    """Return a public key, whose id is its thumbprint (RFC 7638) after `ds_`."""
    from joserfc.jwk import OKPKey

    jwk = OKPKey.import_key(_private(key).public_key())
    return jwk.as_dict(use="sig", alg="EdDSA", kid=f"ds_{jwk.thumbprint()}")


def _text(data: bytes) -> str:
    from joserfc.util import urlsafe_b64encode

    return urlsafe_b64encode(data).decode()
