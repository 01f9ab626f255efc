"""Requests to AWS, signed with an access key (Signature Version 4)."""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM = "AWS4-HMAC-SHA256"


class AccessKey(NamedTuple):
    """An access key of AWS: its public id, and the secret that signs."""

    key_id: str
    secret: str

    @classmethod
    def parse(cls, token: str) -> AccessKey:
        """Return the key that `ID:SECRET` spells; raise ValueError, which repeats none of it."""
        key_id, colon, secret = token.partition(":")
        if not (key_id and colon and secret):
            raise ValueError("must be ACCESS_KEY_ID:SECRET_ACCESS_KEY")
        return cls(key_id, secret)


class Scope(NamedTuple):
    """The scope of a signature: a service in a region, at a time in seconds since 1970."""

    service: str
    region: str
    now_s: float


def signed(key: AccessKey, scope: Scope, line: str, host: str, body: bytes) -> Mapping[str, str]:
    """Return the header fields that sign a request; `line` is its method and path, no query."""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(scope.now_s))
    method, path = line.split(" ")
    digest = sha256(body).hexdigest()
    fields = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": at}
    names = ";".join(fields)  # they are in order
    lines = "".join(f"{name}:{value}\n" for name, value in fields.items())
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
    place = f"{at[:8]}/{scope.region}/{scope.service}/aws4_request"
    text = f"{_ALGORITHM}\n{at}\n{place}\n{sha256(request.encode()).hexdigest()}"
    signing = f"AWS4{key.secret}".encode()
    for part in place.split("/"):
        signing = _hmac(signing, part)
    signature = _hmac(signing, text).hex()
    credential = f"Credential={key.key_id}/{place}"
    authorization = f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
    return {
        "Host": host,
        "X-Amz-Content-SHA256": digest,
        "X-Amz-Date": at,
        "Authorization": authorization,
    }


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), sha256)
