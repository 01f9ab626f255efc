"""Signatures of webhooks, valid and forged."""

from __future__ import annotations

import base64
import sys
from typing import Any

import headgate
import headgate.sync
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from headgate import NotAuthorized
from headgate.workers import signatures

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
BODY = b'{"subscription_id": "s"}'
NOW = 1_778_324_210


def text(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwk(key: Ed25519PrivateKey, key_id: str, **members: Any) -> dict[str, Any]:
    """Return the public half of a key."""
    public = text(key.public_key().public_bytes_raw())
    return {"kty": "OKP", "crv": "Ed25519", "kid": key_id, "x": public, **members}


JWKS = {"keys": [{"kty": "RSA", "kid": "rsa"}, jwk(OTHER, "ds_b"), jwk(KEY, "ds_a")]}


def signed(at: object = NOW, key_id: str = "ds_a", *, by: Ed25519PrivateKey = KEY) -> str:
    """Return a signature of the body."""
    return f"t={at},kid={key_id},ed25519={text(by.sign(f'{at}.'.encode() + BODY))}"


VALID = signed()


def verify_webhook(
    body: Any, headers: dict[str, str], jwks: dict[str, Any], *, now: float = NOW
) -> None:
    """Verify a webhook as a receiver does that has this key set."""
    signature = signatures.signature_in(headers)
    signatures.check_time(signature, now)
    key = signatures.key_in(signatures.keys_in(jwks), signature.key_id)
    signatures.check_signature(signature, body, key)


def test_a_valid_signature_is_accepted_whatever_the_case_of_its_field() -> None:
    for name in ("Webhook-Signature", "webhook-signature"):
        verify_webhook(BODY, {name: VALID}, JWKS, now=NOW)


@pytest.mark.parametrize("age", [-300, 300])
def test_a_signature_of_up_to_five_minutes_is_accepted(age: int) -> None:
    verify_webhook(BODY, {"Webhook-Signature": VALID}, JWKS, now=NOW + age)


@pytest.mark.parametrize("age", [-301, 301, float("nan"), float("inf")])
def test_a_signature_of_another_time_is_rejected(age: float) -> None:
    with pytest.raises(NotAuthorized, match="another time"):
        verify_webhook(BODY, {"Webhook-Signature": VALID}, JWKS, now=NOW + age)


SIGNATURE = VALID.rpartition("=")[2]
FORGED = [
    pytest.param("", id="empty"),
    pytest.param("t=1", id="a part only"),
    pytest.param(f"{VALID},v=1", id="a part more"),
    pytest.param(f"t={NOW},{VALID}", id="two times"),
    pytest.param(VALID.replace(f"t={NOW}", f"t= {NOW}"), id="a space in the time"),
    pytest.param(VALID.replace(f"t={NOW}", f"t=+{NOW}"), id="a sign of the time"),
    pytest.param(signed("1778324210.0"), id="a fraction of a second"),
    pytest.param(VALID.replace("1", "\u0661"), id="digits of another script"),
    pytest.param(f"{VALID}=", id="padded"),
    pytest.param(VALID.replace(SIGNATURE, SIGNATURE[:-1]), id="too short"),
    pytest.param(VALID.replace(SIGNATURE, f"{SIGNATURE}AA"), id="too long"),
    pytest.param(VALID.replace(SIGNATURE, f"{SIGNATURE[:-1]}\n"), id="a line break"),
    pytest.param(f"{VALID}{' ' * 2000}", id="endless"),
    pytest.param(VALID.replace("kid=ds_a", "kid=ds_c"), id="an unknown key"),
    pytest.param(VALID.replace("kid=ds_a", "kid=ds_b"), id="another key"),
    pytest.param(VALID.replace("kid=ds_a", "kid=rsa"), id="a key of another kind"),
    pytest.param(VALID.replace(f"t={NOW}", f"t={NOW + 1}"), id="another time"),
    pytest.param(signed(by=OTHER), id="by another key"),
]


@pytest.mark.parametrize("signature", FORGED)
def test_a_malformed_or_forged_signature_is_rejected(signature: str) -> None:
    with pytest.raises(NotAuthorized):
        verify_webhook(BODY, {"Webhook-Signature": signature}, JWKS, now=NOW)


def test_a_signature_with_other_bits_behind_its_end_is_rejected() -> None:
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(SIGNATURE[-1])
    other = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
    with pytest.raises(NotAuthorized, match="is not"):
        verify_webhook(BODY, {"Webhook-Signature": f"{VALID[:-1]}{other}"}, JWKS, now=NOW)


def test_a_request_without_a_signature_or_with_two_of_them_is_rejected() -> None:
    twice = {"Webhook-Signature": VALID, "webhook-signature": VALID}
    for headers, said in (
        ({}, "no field Webhook-Signature"),
        (twice, "2 fields Webhook-Signature"),
    ):
        with pytest.raises(NotAuthorized, match=said):
            verify_webhook(BODY, headers, JWKS, now=NOW)


@pytest.mark.parametrize(
    "jwks",
    [
        pytest.param({}, id="no keys"),
        pytest.param({"keys": None}, id="none"),
        pytest.param({"keys": ["ds_a", {}, 1]}, id="no objects"),
        pytest.param({"keys": [jwk(KEY, "ds_a", x="AA")]}, id="a short key"),
        pytest.param({"keys": [jwk(KEY, "ds_a", crv="X25519")]}, id="another curve"),
    ],
)
def test_a_key_set_without_the_key_verifies_nothing(jwks: dict[str, Any]) -> None:
    with pytest.raises(NotAuthorized, match="key set"):
        verify_webhook(BODY, {"Webhook-Signature": VALID}, jwks, now=NOW)


@pytest.mark.parametrize(
    "body", [{"subscription_id": "s"}, BODY.decode()], ids=lambda body: type(body).__name__
)
def test_a_body_that_was_parsed_or_decoded_is_an_error_that_says_so(body: Any) -> None:
    with pytest.raises(TypeError, match=r"bytes, as they came, not (dict|str): do not parse"):
        verify_webhook(body, {"Webhook-Signature": VALID}, JWKS, now=NOW)


def test_a_body_in_a_buffer_is_verified() -> None:
    for kind in (bytearray, memoryview):
        verify_webhook(kind(BODY), {"Webhook-Signature": VALID}, JWKS, now=NOW)


@pytest.mark.parametrize(
    "kind", [headgate.WebhookReceiver, headgate.sync.WebhookReceiver], ids=["async", "sync"]
)
def test_a_receiver_without_cryptography_is_refused_when_it_is_made(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ImportError, match=r"pip install './client\[webhooks\]'"):
        kind("http://127.0.0.1:4437/v1/stream", "s")
