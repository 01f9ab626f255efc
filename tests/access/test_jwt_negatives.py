"""Tokens that nobody may come in with, as a table: each is refused, for its reason."""

from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from headgate_gateway.access.jwt_issuers import JwtIssuers, KeysOfFile
from headgate_gateway.access.token_guard import Verifier
from headgate_gateway.access.tokens_file import NOTHING
from headgate_gateway.errors import Unauthenticated
from headgate_gateway.settings import JwtIssuer
from tests.access.forging import (
    ALL,
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    NOW,
    OTHER_ED,
    RSA,
    Key,
    b64,
    claims,
    good,
    hmac_token,
    key_set,
    make,
    signature_of,
    unb64,
    with_signature,
)
from tests.support.log_lines import capture_logs

LEEWAY = 30
ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
CANARY = "canary7f3b9c"


KEYS = key_set(*ALL, algorithms=ALGORITHMS)
KNOWN = KeysOfFile(lambda: KEYS)


def issuer(**more: object) -> JwtIssuer:
    values = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "jwks": "https://id.example.com/jwks",
        "algorithms": ALGORITHMS,
        "grants": [{"streams": "/s/{sub}/*", "operations": ["read"]}],
        "grants_claim": "streams",
    }
    return JwtIssuer.of({**values, **more})


def verifier(**more: object) -> Verifier:
    one = issuer(**more)
    return Verifier([JwtIssuers({one.issuer: (one, KNOWN)}, lambda: NOTHING)])


HEADER = {"alg": "EdDSA", "kid": "ed", "typ": "JWT"}
HEAD, PAYLOAD, SIGNATURE = good().split(".")
GOOD = good()
ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group
PEM = RSA.as_pem(private=False)
S = int.from_bytes(signature_of(GOOD)[32:], "little")


def padded(part: str) -> str:
    return part + "=" * (-len(part) % 4 or 4)


def beyond_the_last_byte(part: str) -> str:
    """The same bytes in another text: the bits that base64 has too many are not zero."""
    assert len(part) % 4
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = part[:-1] + alphabet[alphabet.index(part[-1]) + 1]
    assert unb64(other) == unb64(part)
    return other


def unsigned(algorithm: str) -> str:
    head = b64(json.dumps({"alg": algorithm, "kid": "ed", "typ": "JWT"}).encode())
    return f"{head}.{PAYLOAD}."


def swapped(header: dict[str, object]) -> str:
    """Another header over the payload, with a right signature of what it then says."""
    return make({**HEADER, **header}, claims())


def der_signature() -> str:
    token = good(EC, "ES256")
    signed = token.rpartition(".")[0]
    der = EC.private_key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))  # type: ignore[union-attr]
    return with_signature(token, der)


WRONG_SIGNATURE = "signature that is wrong"
NO_JSON = "no JSON object"
UNKNOWN_EXTENSION = "an extension that is not understood"
OTHER_ALGORITHM = "no algorithm that its issuer has"
NO_TIME = "an exp that is no time"
NO_OPERATIONS = "a list of operations"
OTHER_KIND = "no kind that this route takes"
NO_PATH = "a canonical path"
OTHER_AUDIENCE = "another audience"
NEGATIVES: dict[str, tuple[str, str]] = {
    # ---- no signature
    **{
        f"alg {name}": (unsigned(name), "compact form")
        for name in ("none", "None", "NONE", "nOnE", "none ", "")
    },
    "alg none with a signature": (swapped({"alg": "none"}), OTHER_ALGORITHM),
    "alg null": (swapped({"alg": None}), "a header that is none"),
    "alg a list": (swapped({"alg": ["EdDSA"]}), "a header that is none"),
    "alg in lower case": (swapped({"alg": "eddsa"}), OTHER_ALGORITHM),
    "no alg": (make({"kid": "ed"}, claims()), OTHER_ALGORITHM),
    "signature of zero length": (f"{HEAD}.{PAYLOAD}.", "compact form"),
    "signature of zeros": (with_signature(GOOD, bytes(64)), WRONG_SIGNATURE),
    "signature cut short": (with_signature(GOOD, signature_of(GOOD)[:63]), WRONG_SIGNATURE),
    "signature too long": (with_signature(GOOD, signature_of(GOOD) + b"\0"), WRONG_SIGNATURE),
    "a bit of the signature": (
        with_signature(GOOD, bytes([signature_of(GOOD)[0] ^ 1]) + signature_of(GOOD)[1:]),
        WRONG_SIGNATURE,
    ),
    "another payload": (f"{HEAD}.{good(sub='eve').split('.')[1]}.{SIGNATURE}", WRONG_SIGNATURE),
    "another header": (
        f"{good(header={'x': 1}).split('.')[0]}.{PAYLOAD}.{SIGNATURE}",
        WRONG_SIGNATURE,
    ),
    # ---- keys taken for what they are not
    "HS256 with the public PEM": (hmac_token(PEM), OTHER_ALGORITHM),
    "RS256 named, EdDSA's key": (good(RSA, "RS256", {"kid": "ed"}), "not with its algorithm"),
    "ES256 named, RSA's key": (good(EC, "ES256", {"kid": "rsa"}), "not with its algorithm"),
    "EdDSA named, EC's key": (swapped({"kid": "ec"}), "not with its algorithm"),
    "ES384 named, a key of P-256": (
        make({"alg": "ES384", "kid": "ec"}, claims()),
        "not with its algorithm",
    ),
    "RS256's signature as PS256": (
        make({"alg": "PS256", "kid": "rsa"}, claims(), RSA, "RS256"),
        WRONG_SIGNATURE,
    ),
    "PS256's signature as RS256": (
        make({"alg": "RS256", "kid": "rsa"}, claims(), RSA, "PS256"),
        WRONG_SIGNATURE,
    ),
    "RS512, which the issuer has not": (good(RSA, "RS512"), OTHER_ALGORITHM),
    "another key under the same id": (good(OTHER_ED), WRONG_SIGNATURE),
    "ECDSA in DER": (der_signature(), WRONG_SIGNATURE),
    "ECDSA of zeros": (with_signature(good(EC, "ES256"), bytes(64)), WRONG_SIGNATURE),
    "Ed25519 with S + L": (
        with_signature(GOOD, signature_of(GOOD)[:32] + (S + ORDER).to_bytes(32, "little")),
        WRONG_SIGNATURE,
    ),
    "Ed25519 of low order": (
        with_signature(GOOD, (1).to_bytes(32, "little") + bytes(32)),
        WRONG_SIGNATURE,
    ),
    # ---- ways to find a key
    "no kid": (make({"alg": "EdDSA"}, claims()), "does not name its key"),
    "empty kid": (swapped({"kid": ""}), "does not name its key"),
    "kid a number": (swapped({"kid": 1}), "a header that is none"),
    "kid a path": (swapped({"kid": "../../../../dev/null"}), "key that is unknown"),
    "kid in another case": (swapped({"kid": "ED"}), "key that is unknown"),
    "jwk of its own under a known id": (
        make({**HEADER, "jwk": OTHER_ED.as_dict(private=False)}, claims(), OTHER_ED),
        WRONG_SIGNATURE,
    ),
    "jku": (
        make({**HEADER, "jku": "https://evil.example/jwks"}, claims(), OTHER_ED),
        WRONG_SIGNATURE,
    ),
    "x5c": (make({**HEADER, "x5c": ["MIIB"]}, claims(), OTHER_ED), WRONG_SIGNATURE),
    # ---- for whom, by whom, for what
    "wrong iss": (good(iss="https://evil.example/"), "no issuer that is known"),
    "iss without its slash": (good(iss=ISSUER[:-1]), "no issuer that is known"),
    "no iss": (good(iss=None), "no issuer that is known"),
    "iss a list": (good(iss=[ISSUER]), "iss that is no text"),
    "wrong aud": (good(aud="others"), OTHER_AUDIENCE),
    "no aud": (good(aud=None), OTHER_AUDIENCE),
    "aud empty": (good(aud=[]), OTHER_AUDIENCE),
    "aud nested": (good(aud=[["streams"]]), OTHER_AUDIENCE),
    "aud an object": (good(aud={"streams": 1}), OTHER_AUDIENCE),
    "typ of a read token": (good(header={"typ": "hg-read+jwt"}), "another typ"),
    "typ of a logout": (good(header={"typ": "logout+jwt"}), "another typ"),
    "typ a number": (good(header={"typ": 1}), "a header that is none"),
    # ---- when
    "no exp": (good(exp=None), "does not say when it expires"),
    "exp null": (make(HEADER, {**claims(), "exp": None}), NO_TIME),
    "exp a text": (good(exp=str(NOW + 600)), NO_TIME),
    "exp true": (good(exp=True), NO_TIME),
    "exp negative": (good(exp=-1), NO_TIME),
    "exp in 10^400": (
        make(
            HEADER, json.dumps(claims(exp=0)).replace('"exp": 0', f'"exp": 1{"0" * 400}').encode()
        ),
        NO_TIME,
    ),
    "exp NaN": (make(HEADER, json.dumps(claims(exp=float("nan"))).encode()), NO_JSON),
    "exp at the edge of the leeway": (good(exp=NOW - LEEWAY), "has expired"),
    "nbf beyond the leeway": (good(nbf=NOW + LEEWAY + 1), "counts only later"),
    "nbf a text": (good(nbf="now"), "an nbf that is no time"),
    "iat beyond the leeway": (good(iat=NOW + LEEWAY + 1), "counts only later"),
    # ---- extensions
    "crit of exp": (swapped({"crit": ["exp"]}), UNKNOWN_EXTENSION),
    "crit of what is unknown": (swapped({"crit": ["x"], "x": 1}), UNKNOWN_EXTENSION),
    "b64 false": (swapped({"b64": False, "crit": ["b64"]}), UNKNOWN_EXTENSION),
    "b64 false without crit": (swapped({"b64": False}), UNKNOWN_EXTENSION),
    # ---- JSON
    "alg twice": (make(b'{"alg":"none","alg":"EdDSA","kid":"ed"}', claims()), NO_JSON),
    "sub twice": (make(HEADER, json.dumps(claims())[:-1].encode() + b',"sub":"root"}'), NO_JSON),
    "key twice, deep": (
        make(HEADER, json.dumps(claims(x=0)).replace('"x": 0', '"x": {"a":1,"a":2}').encode()),
        NO_JSON,
    ),
    "header a list": (make([HEADER], claims()), NO_JSON),
    "payload a text": (make(HEADER, "claims"), NO_JSON),
    "payload empty": (make(HEADER, b"{}"), "no issuer that is known"),
    "payload no UTF-8": (make(HEADER, b'{"iss":"\xff"}'), NO_JSON),
    "payload in UTF-16": (make(HEADER, json.dumps(claims()).encode("utf-16")), NO_JSON),
    "payload with a BOM": (make(HEADER, b"\xef\xbb\xbf" + json.dumps(claims()).encode()), NO_JSON),
    "payload nested 2,000 deep": (make(HEADER, b"[" * 2000 + b"]" * 2000), NO_JSON),
    "a number of 5,000 digits": (make(HEADER, b'{"x":' + b"1" * 5000 + b"}"), NO_JSON),
    "a JWT inside": (make({**HEADER, "cty": "JWT"}, GOOD.encode()), NO_JSON),
    # ---- the text of it
    "1 MB": (good(x="x" * 1_000_000), "compact form"),
    "one byte too long": (GOOD + "A" * (8 * 1024 + 1 - len(GOOD)), "compact form"),
    "padded": (".".join(map(padded, (HEAD, PAYLOAD, SIGNATURE))), "compact form"),
    "bits beyond the signature": (
        f"{HEAD}.{PAYLOAD}.{beyond_the_last_byte(SIGNATURE)}",
        WRONG_SIGNATURE,
    ),
    "bits beyond the payload": (
        f"{HEAD}.{beyond_the_last_byte(good(sub='annx').split('.')[1])}.{SIGNATURE}",
        NO_JSON,
    ),
    "plain base64": (GOOD.replace("-", "+").replace("_", "/") + "+", "compact form"),
    "a blank": (f"{HEAD}. {PAYLOAD}.{SIGNATURE}", "compact form"),
    "a line end": (GOOD + "\n", "compact form"),
    "a letter of another script": (GOOD[:-1] + "а", "compact form"),
    "detached payload": (f"{HEAD}..{SIGNATURE}", "compact form"),
    "no header": (f".{PAYLOAD}.{SIGNATURE}", "compact form"),
    "only dots": ("..", "compact form"),
    "four parts": (f"{GOOD}.{SIGNATURE}", OTHER_KIND),
    "JWE": (
        ".".join(map(b64, (b'{"alg":"dir","enc":"A256GCM"}', b"", bytes(12), b"x", bytes(16)))),
        OTHER_KIND,
    ),
    "JSON serialization": (
        json.dumps({"protected": HEAD, "payload": PAYLOAD, "signature": SIGNATURE}),
        OTHER_KIND,
    ),
    "hash of a good one": (hashlib.sha256(GOOD.encode()).hexdigest(), "no kind that this route"),
    # ---- grants
    "sub of dots": (good(sub=".."), "a claim sub that can be a segment"),
    "sub of a dot": (good(sub="."), "a claim sub that can be a segment"),
    "sub empty": (good(sub=""), "a claim sub that can be a segment"),
    "sub a number": (good(sub=1), "sub that is no text"),
    "sub a lone surrogate": (good(sub="\ud800"), "a claim sub of Unicode"),
    "sub with a control": (good(sub="a\nb"), NO_PATH),
    "sub of 3 kB": (good(sub="x" * 3000), NO_PATH),
    "grants no list": (good(streams={"streams": "/*"}), "a list of grants"),
    "grants of dots": (good(streams=[{"streams": "/s/../*", "operations": ["read"]}]), NO_PATH),
    "grants of an unknown operation": (
        good(streams=[{"streams": "/s", "operations": ["admin"]}]),
        NO_OPERATIONS,
    ),
    "grants of no operation": (good(streams=[{"streams": "/s", "operations": []}]), NO_OPERATIONS),
    "grants with more": (
        good(streams=[{"streams": "/s", "operations": ["read"], "x": 1}]),
        "streams and operations",
    ),
    "jti a number": (good(jti=1), "jti that is no text"),
}
assert len({token for token, _ in NEGATIVES.values()}) == len(NEGATIVES), "two are the same"


@pytest.mark.parametrize("name", NEGATIVES)
async def test_each_bad_jwt_is_refused_for_its_reason(name: str) -> None:
    token, why = NEGATIVES[name]
    judge = verifier()
    with capture_logs() as lines, pytest.raises(Unauthenticated) as refusal:
        await judge.verify(token, NOW)
    assert why in refusal.value.detail
    assert refusal.value.is_refused
    assert judge.known(token, NOW) is None
    assert lines == []
    assert not token or token not in refusal.value.detail


KEYS_OF: dict[str, Key] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSA),
    **dict(zip(("ES256", "ES384", "ES512", "EdDSA", "Ed25519"), (*ALL[1:], ED), strict=True)),
}


@pytest.mark.parametrize("algorithm", KEYS_OF)
async def test_a_good_jwt_of_each_algorithm_is_accepted(algorithm: str) -> None:
    """So that a refusal above is one of what is wrong, and not of everything."""
    known = KeysOfFile(lambda: key_set(*ALL, algorithms=[algorithm]))
    one = issuer(algorithms=[algorithm])
    taking = Verifier([JwtIssuers({one.issuer: (one, known)}, lambda: NOTHING)])
    ann = await taking.verify(good(KEYS_OF[algorithm], algorithm), NOW)
    assert (ann.name, ann.until) == ("ann", NOW + 600 + LEEWAY)


@pytest.mark.parametrize(
    "token",
    [
        good(exp=NOW - LEEWAY + 1),
        good(nbf=NOW + LEEWAY),
        good(iat=NOW + LEEWAY),
        good(iat=None, jti=None),
        good(aud=["others", AUDIENCE]),
        good(header={"typ": "at+jwt"}),
        good(header={"typ": "application/at+JWT"}),
        good(header={"typ": None}),
        good(header={"jku": "https://id.example.com/", "x5t": "x", "nonce": "x"}),
        good(exp=NOW + 0.5),
    ],
    ids=["exp", "nbf", "iat", "least", "aud", "at+jwt", "whole", "none", "header", "fraction"],
)
async def test_unusual_but_valid_jwts_are_accepted(token: str) -> None:
    assert (await verifier().verify(token, NOW)).name == "ann"


async def test_an_issuer_that_requires_a_typ_refuses_other_jwts() -> None:
    judge = verifier(typ="at+jwt")
    assert await judge.verify(good(header={"typ": "at+JWT"}), NOW)
    with pytest.raises(Unauthenticated, match="another typ"):
        await judge.verify(good(), NOW)


async def test_refusals_and_principals_contain_no_part_of_a_jwt() -> None:
    judge = verifier()
    token = good(header={"kid": CANARY}, secret=CANARY)
    with pytest.raises(Unauthenticated) as refusal:
        await judge.verify(token, NOW)
    ann = await judge.verify(good(secret=CANARY), NOW)
    told = f"{refusal.value!r} {refusal.value.detail} {ann!r} {ann.proof!r}"
    assert CANARY not in told
    assert all(part not in told for part in (*token.split("."), *good(secret=CANARY).split(".")))
