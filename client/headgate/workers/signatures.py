"""Signatures of webhooks: Ed25519, by a key of the server's key set."""

from __future__ import annotations

import base64
import binascii
import importlib.util
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.errors import NotAuthorized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = "Webhook-Signature"
TOLERANCE_S = 300.0  # of the signature's age: PROTOCOL.md section 7.1 has five minutes
SIGNATURE_BYTES, KEY_BYTES = 64, 32
LONGEST_SIGNATURE = 1024  # characters of the field
MOST_DIGITS = 12
PARTS = ("t", "kid", "ed25519")
NO_CRYPTOGRAPHY = (
    "verifying webhooks needs an extra: pip install './client[webhooks]' in a clone of Headgate"
)


class WebhookSignature(NamedTuple):
    """The parts of a `Webhook-Signature` field."""

    timestamp: str
    key_id: str
    signature: bytes


def check_installed() -> None:
    """Raise ImportError if the package that verifies webhooks is not installed."""
    if importlib.util.find_spec("cryptography") is None:
        raise ImportError(NO_CRYPTOGRAPHY)


def system_time() -> float:
    """Return the present in seconds since 1970, by the clock of this machine."""
    return time.time()  # noqa: TID251


def signature_in(headers: Mapping[str, str]) -> WebhookSignature:
    """Return the signature in a request's header fields. Raises NotAuthorized."""
    found = [value for name, value in headers.items() if name.lower() == SIGNATURE.lower()]
    if len(found) != 1:
        number = f"{len(found)} fields" if found else "no field"
        raise NotAuthorized(f"the request has {number} {SIGNATURE}")
    parts = [part.partition("=") for part in found[0].split(",")]
    values = {name: value for name, _, value in parts}
    is_whole = len(found[0]) <= LONGEST_SIGNATURE and sorted(it[0] for it in parts) == sorted(PARTS)
    time_text = values.get("t", "")
    is_time = time_text.isascii() and time_text.isdecimal() and len(time_text) <= MOST_DIGITS
    signature = _decoded(values.get("ed25519", ""))
    if not (is_whole and is_time and len(signature) == SIGNATURE_BYTES):
        raise NotAuthorized(f"the field {SIGNATURE} is not t=…,kid=…,ed25519=…")
    return WebhookSignature(time_text, values["kid"], signature)


def check_time(signature: WebhookSignature, now: float) -> None:
    """Raise NotAuthorized for a signature of another time: a recorded request may come again."""
    if not abs(now - int(signature.timestamp)) <= TOLERANCE_S:
        raise NotAuthorized("the signature is of another time: check the clocks of both machines")


def check_signature(signature: WebhookSignature, body: object, key: Ed25519PublicKey) -> None:
    """Raise NotAuthorized if the key has not signed the body, and TypeError if it is no bytes."""
    if not isinstance(body, (bytes, bytearray, memoryview)):
        kind = type(body).__name__
        raise TypeError(f"the body is to be bytes, as they came, not {kind}: do not parse it first")
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature.signature, signature.timestamp.encode() + b"." + bytes(body))
    except InvalidSignature:
        raise NotAuthorized(
            "the signature is wrong: it is over the body byte for byte as it was sent"
        ) from None


def keys_in(jwks: Mapping[str, Any]) -> dict[str, Ed25519PublicKey]:
    """Return the Ed25519 keys in a key set; those of other kinds are passed over."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found: dict[str, Ed25519PublicKey] = {}
    keys = jwks.get("keys")
    for key in keys if isinstance(keys, list) else []:
        is_key = isinstance(key, dict) and (key.get("kty"), key.get("crv")) == ("OKP", "Ed25519")
        if is_key and isinstance(key.get("kid"), str) and isinstance(key.get("x"), str):
            public = _decoded(key["x"])
            if len(public) == KEY_BYTES:
                found[key["kid"]] = Ed25519PublicKey.from_public_bytes(public)
    return found


def key_in(keys: Mapping[str, Ed25519PublicKey], key_id: str) -> Ed25519PublicKey:
    """Return a key of a key set by its id. Raises NotAuthorized."""
    if key_id not in keys:
        raise NotAuthorized("the signature has a key that is not in the server's key set")
    return keys[key_id]


def _decoded(text: str) -> bytes:
    """Return the bytes of unpadded base64url; none for any other text."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    # Each signature has one text: no bits are left over, and no padding is sent.
    return data if base64.urlsafe_b64encode(data).rstrip(b"=") == text.encode() else b""
