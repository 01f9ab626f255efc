"""A gateway with one private log, as an edge in front of it sees it, and its read tokens."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cdn_configs.options import ReadKey
from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.raw_origin import Wire

KID = "2026-11"
BODY = b"for all who may read it"


def epoch_seconds() -> float:
    """The clock that a token's expiry is by."""
    return time.time()  # noqa: TID251 - as an edge counts


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Signer:
    """Makes read tokens, right ones and others."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.public = self.private.public_key()

    @property
    def read_key(self) -> ReadKey:
        raw = self.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return ReadKey(KID, _encoded(raw))

    def token(
        self, streams: str, sub: str, *, header: dict[str, object] | None = None, **claims: object
    ) -> str:
        """A token for somebody, right but for what is given otherwise."""
        now = int(epoch_seconds())
        said: dict[str, object] = {
            "sub": sub,
            "jti": sub,
            "ver": 1,
            "streams": streams,
            "ops": ["read"],
            "iat": now,
            "exp": now + 600,
            **claims,
        }
        head = {"alg": "EdDSA", "typ": "hg-read+jwt", "kid": KID, **(header or {})}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, said))
        return f"{signed}.{_encoded(self.private.sign(signed.encode()))}"


class GuardedOrigin(RawOrigin):
    """Counts what it is asked; `revoked` are those whose tokens it takes no more."""

    def __init__(self, signer: Signer, *, port: int) -> None:
        super().__init__(self._play, port=port)
        self._signer = signer
        self.revoked: set[str] = set()
        self.holds = 0  # a GET is answered when so many HEAD have come: then all wait for it

    def count(self, method: str) -> int:
        return sum(heard.method == method for heard in self.heard)

    async def _play(self, wire: Wire) -> None:
        target = wire.heard.target
        path, _, query = target.partition("?")
        status = self._status(path, query, wire.heard.named)
        if status != 200:
            refused = f"HTTP/1.1 {status} Refused\r\nCache-Control: private, no-store\r\n"
            body = b"" if wire.heard.method == "HEAD" else b"no"
            await wire.send(f"{refused}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            return
        fields = ["Content-Type: text/plain", "Stream-Next-Offset: 0001"]
        if wire.heard.method == "HEAD":
            await wire.send(_head("Cache-Control: private, no-store", *fields))
        else:
            await until(lambda: self.count("HEAD") >= self.holds, "those who wait")
            kept = "Cache-Control: private, max-age=600"
            await wire.send(answer(BODY, kept, *fields))

    def _status(self, path: str, query: str, headers: dict[str, str]) -> int:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        for pair in query.split("&"):
            if pair.startswith("token=") and not token:
                token = pair.removeprefix("token=")
        if not token:
            token = headers.get("cookie", "").partition("__Secure-headgate=")[2].partition(";")[0]
        try:
            signed, _, signature = token.rpartition(".")
            self._signer.public.verify(_decoded(signature), signed.encode())
            header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        except (ValueError, InvalidSignature):
            return 401
        is_right = header["alg"] == "EdDSA" and header["typ"] == "hg-read+jwt"
        is_right = is_right and claims.get("ver") == 1 and claims["sub"] not in self.revoked
        if not is_right or not claims["exp"] > epoch_seconds():
            return 401
        streams = claims["streams"]
        covers = path.startswith(streams[:-1]) if streams.endswith("/*") else path == streams
        return 200 if covers and "read" in claims["ops"] else 403


def _head(*fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *fields, f"Content-Length: {len(BODY)}", "", ""]
    return "\r\n".join(lines).encode()
