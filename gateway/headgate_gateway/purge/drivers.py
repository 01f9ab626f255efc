"""The purge request of each kind of cache, as its vendor documents it, and the responses."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from yarl import URL

from headgate_gateway.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.purge.purge_queue import Copies
    from headgate_gateway.settings import PurgedCache

_SIGNATURE: Final = "AWS4-HMAC-SHA256"  # Signature Version 4 of AWS
_PLACE: Final = "us-east-1/cloudfront/aws4_request"  # where CloudFront's API is, for all regions
_CLOUDFRONT: Final = "http://cloudfront.amazonaws.com/doc/2020-05-31/"


class Call(NamedTuple):
    """A request to a cache. `target` is its path and query as they are sent."""

    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Driver(NamedTuple):
    """The calls to one cache; each has at most `at_once` purges.

    `place` tells it from others of its kind: the zone at a vendor, or the server and the host.
    `why_not` tells by an answer's status and body what went wrong, in words that follow "it".
    `field` has the lifetimes that only caches of this kind go by; "" if there is none.
    """

    kind: str
    place: str
    url: str
    at_once: int
    call: Callable[[Sequence[Copies]], Call]
    why_not: Callable[[int, bytes], str | None]
    field: str = ""


def driver_of(cache: PurgedCache, wall_clock: Callable[[], float]) -> Driver:
    """Return the driver of a cache; raise StartError when its token cannot be read."""
    kind = _KINDS[cache.kind]
    try:
        credential = kind.parse(cache.secret())
    except ValueError as cause:
        raise StartError(f"cannot use the token_file of {cache.kind}: it {cause}") from cause

    def call(copies: Sequence[Copies]) -> Call:
        return kind.call(cache, credential, copies, wall_clock())

    place = _place(cache)
    return Driver(cache.kind, place, cache.url, kind.at_once, call, kind.why_not, kind.field)


def _place(cache: PurgedCache) -> str:
    """Name a cache by more than its URL, which is the same for all zones, or hosts of an nginx."""
    server = URL(cache.url).authority
    return cache.zone or (f"{server} for {cache.host}" if cache.host else server)


# What responses say


def _status(status: int, _body: bytes) -> str | None:
    if 200 <= status < 300:
        return None
    if status in {405, 501}:
        return f"answers {status}: it takes no purges (headgate cdn render --purge)"
    if status in {401, 403}:
        return f"does not let us purge: it answers {status}"
    return "has had too many purges: it answers 429" if status == 429 else f"answers {status}"


def _no_wildcard(status: int, body: bytes) -> str | None:
    if status in {404, 412}:  # versions before 2.4 take the `*` literally
        return f"answers {status}: it needs ngx_cache_purge 2.4 or newer"
    return _status(status, body)


def _no_success(status: int, body: bytes) -> str | None:
    reason = _status(status, body)
    if reason is not None:
        return reason
    try:
        result = json.loads(body)
    except ValueError:
        return "answers with what is no JSON"
    is_done = isinstance(result, dict) and result.get("success") is True
    return None if is_done else "does not answer that it was a success"


def _too_many_in_progress(status: int, body: bytes) -> str | None:
    if status == 400 and b"TooManyInvalidationsInProgress" in body:
        return "has had too many purges: it answers 400"
    return _status(status, body)


# Calls


def _tags(copies: Sequence[Copies]) -> list[str]:
    return [each.tag for each in copies]


def _json_call(target: str, headers: Mapping[str, str], document: object) -> Call:
    headers = {**headers, "Content-Type": "application/json"}
    return Call("POST", target, headers, json.dumps(document).encode())


def _nginx(cache: PurgedCache, _token: str, copies: Sequence[Copies], _now: float) -> Call:
    """Return the call of ngx_cache_purge from version 2.4, where a final `*` is any ending."""
    return Call("PURGE", f"{copies[0].urls}*", {"Host": cache.host} if cache.host else {})


def _varnish(_cache: PurgedCache, _token: str, copies: Sequence[Copies], _now: float) -> Call:
    """Return a BAN with the tags as a regular expression, for VCL with obj.http.Surrogate-Key."""
    return Call("BAN", "/", {"Surrogate-Key": "|".join(_tags(copies))})


def _fastly(cache: PurgedCache, token: str, copies: Sequence[Copies], _now: float) -> Call:
    headers = {"Fastly-Key": token, "Accept": "application/json"}
    keys = {"surrogate_keys": _tags(copies)}
    return _json_call(f"/service/{cache.zone}/purge", headers, keys)


def _cloudflare(cache: PurgedCache, token: str, copies: Sequence[Copies], _now: float) -> Call:
    target = f"/client/v4/zones/{cache.zone}/purge_cache"
    return _json_call(target, {"Authorization": f"Bearer {token}"}, {"tags": _tags(copies)})


def _worker(_cache: PurgedCache, token: str, copies: Sequence[Copies], _now: float) -> Call:
    """Return the call of the Worker that `headgate cdn render --purge` made."""
    headers = {"Authorization": f"Bearer {token}"}
    return _json_call("/.headgate/purge", headers, {"tags": _tags(copies)})


def _bunny(cache: PurgedCache, token: str, copies: Sequence[Copies], _now: float) -> Call:
    target = f"/pullzone/{cache.zone}/purgeCache"
    return _json_call(target, {"AccessKey": token}, {"CacheTag": copies[0].tag})


def _cloudfront(cache: PurgedCache, key: AccessKey, copies: Sequence[Copies], now: float) -> Call:
    """Return invalidations by tags, for a CacheTagConfig; AWS bills each tag."""
    path = f"/2020-05-31/distribution/{cache.zone}/invalidation"
    items = "".join(f"<Path>#{tag}</Path>" for tag in _tags(copies))
    paths = f"<Paths><Quantity>{len(copies)}</Quantity><Items>{items}</Items></Paths>"
    # CloudFront ignores a call with the reference of an earlier one.
    reference = f"<CallerReference>{secrets.token_hex(16)}</CallerReference>"
    batch = f'<InvalidationBatch xmlns="{_CLOUDFRONT}">{paths}{reference}</InvalidationBatch>'
    body = batch.encode()
    signature = _signed(key, now, path, URL(cache.url).host_port_subcomponent or "", body)
    return Call("POST", path, {**signature, "Content-Type": "text/xml"}, body)


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


def _signed(key: AccessKey, now: float, path: str, host: str, body: bytes) -> dict[str, str]:
    """Return the header fields that sign a POST to CloudFront without a query."""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    digest = sha256(body).hexdigest()
    fields = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": at}
    names = ";".join(fields)  # they are in order
    lines = "".join(f"{name}:{value}\n" for name, value in fields.items())
    request = f"POST\n{path}\n\n{lines}\n{names}\n{digest}"
    place = f"{at[:8]}/{_PLACE}"
    signed = f"{_SIGNATURE}\n{at}\n{place}\n{sha256(request.encode()).hexdigest()}"
    signature = f"AWS4{key.secret}".encode()
    for part in (*place.split("/"), signed):
        signature = hmac.digest(signature, part.encode(), sha256)
    credential = f"Credential={key.key_id}/{place}, SignedHeaders={names}"
    return {
        "Host": host,
        "X-Amz-Content-SHA256": digest,
        "X-Amz-Date": at,
        "Authorization": f"{_SIGNATURE} {credential}, Signature={signature.hex()}",
    }


class _Kind(NamedTuple):
    """A kind of cache: how many purges a call has, how it is made, and what its response says."""

    at_once: int
    call: Callable[[PurgedCache, Any, Sequence[Copies], float], Call]
    why_not: Callable[[int, bytes], str | None] = _status
    field: str = ""
    parse: Callable[[str], Any] = str  # of the token


# nginx and Varnish with the files of `headgate cdn` drop Surrogate-Control from what they send on,
# as Fastly does by itself. CloudFront and Bunny go by Cache-Control, as many others do.
_KINDS: Mapping[str, _Kind] = {
    "nginx": _Kind(1, _nginx, _no_wildcard, "Surrogate-Control"),
    # 1.3 KB of tags; Varnish allows 8 KB for a field
    "varnish": _Kind(64, _varnish, field="Surrogate-Control"),
    "fastly": _Kind(256, _fastly, field="Surrogate-Control"),
    # 100 in one call today, and 30 on older accounts
    "cloudflare": _Kind(30, _cloudflare, _no_success, "CDN-Cache-Control"),
    "cloudflare-worker": _Kind(30, _worker, _no_success, "CDN-Cache-Control"),
    # of 3,000 that may be under way
    "cloudfront": _Kind(100, _cloudfront, _too_many_in_progress, parse=AccessKey.parse),
    "bunny": _Kind(1, _bunny),
}
