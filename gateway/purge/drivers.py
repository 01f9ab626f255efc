"""The purge request of each kind of cache, as its vendor documents it, and the responses."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from yarl import URL

from gateway.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.purge.purge_queue import Copies
    from gateway.settings import PurgedCache

JSON: Final = {"Content-Type": "application/json"}
_ALGORITHM = "AWS4-HMAC-SHA256"  # Signature Version 4 of AWS


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
    try:
        functions = _MAKERS[cache.kind](cache, cache.secret(), wall_clock)
    except ValueError as cause:
        raise StartError(f"cannot use the token_file of {cache.kind}: it {cause}") from cause
    at_once, call, why_not = functions
    field = _FIELDS.get(cache.kind, "")
    return Driver(cache.kind, _place(cache), cache.url, at_once, call, why_not, field)


def _place(cache: PurgedCache) -> str:
    """Name a cache by more than its URL, which is the same for all zones, or hosts of an nginx."""
    server = URL(cache.url).authority
    return cache.zone or (f"{server} for {cache.host}" if cache.host else server)


_Clock: TypeAlias = "Callable[[], float]"
_Made = tuple[int, "Callable[[Sequence[Copies]], Call]", "Callable[[int, bytes], str | None]"]


def _tags(copies: Sequence[Copies]) -> list[str]:
    return [each.tag for each in copies]


def _status(status: int, _body: bytes) -> str | None:
    if 200 <= status < 300:
        return None
    if status in {405, 501}:
        return f"answers {status}: it takes no purges (headgate cdn render --purge)"
    if status in {401, 403}:
        return f"does not let us purge: it answers {status}"
    return "has had too many purges: it answers 429" if status == 429 else f"answers {status}"


def _nginx(cache: PurgedCache, _token: str, _clock: _Clock) -> _Made:
    """Return calls of ngx_cache_purge from version 2.4, where a final `*` stands for any ending."""
    host = {"Host": cache.host} if cache.host else {}

    def call(copies: Sequence[Copies]) -> Call:
        (one,) = copies
        return Call("PURGE", f"{one.urls}*", host)

    return 1, call, _no_wildcard


def _no_wildcard(status: int, body: bytes) -> str | None:
    if status in {404, 412}:  # versions before 2.4 take the `*` literally
        return f"answers {status}: it needs ngx_cache_purge 2.4 or newer"
    return _status(status, body)


def _varnish(_cache: PurgedCache, _token: str, _clock: _Clock) -> _Made:
    """Return BANs with the tags as a regular expression, for VCL with obj.http.Surrogate-Key."""

    def call(copies: Sequence[Copies]) -> Call:
        return Call("BAN", "/", {"Surrogate-Key": "|".join(_tags(copies))})

    return 64, call, _status  # 1.3 KB; Varnish allows 8 KB for a field


def _fastly(cache: PurgedCache, token: str, _clock: _Clock) -> _Made:
    """Return purges of many surrogate keys, 256 of them in one call."""
    headers = {"Fastly-Key": token, "Accept": "application/json", **JSON}

    def call(copies: Sequence[Copies]) -> Call:
        body = json.dumps({"surrogate_keys": _tags(copies)}).encode()
        return Call("POST", f"/service/{cache.zone}/purge", headers, body)

    return 256, call, _status


def _cloudflare(cache: PurgedCache, token: str, _clock: _Clock) -> _Made:
    """Return purges by tags: 100 in one call today, and 30 on older accounts."""
    return _tags_as_json(f"/client/v4/zones/{cache.zone}/purge_cache", token)


def _worker(_cache: PurgedCache, token: str, _clock: _Clock) -> _Made:
    """Return calls of the Worker that `headgate cdn render --purge` made, which purges by tags."""
    return _tags_as_json("/.headgate/purge", token)


def _tags_as_json(path: str, token: str) -> _Made:
    """Return the calls that both kinds of Cloudflare take; responses say whether they succeeded."""
    headers = {"Authorization": f"Bearer {token}", **JSON}

    def call(copies: Sequence[Copies]) -> Call:
        body = json.dumps({"tags": _tags(copies)}).encode()
        return Call("POST", path, headers, body)

    return 30, call, _no_success


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


def _cloudfront(cache: PurgedCache, token: str, clock: _Clock) -> _Made:
    """Return invalidations by tags, for a CacheTagConfig; AWS bills each tag."""
    key = AccessKey.parse(token)
    host = URL(cache.url).host_port_subcomponent or ""
    path = f"/2020-05-31/distribution/{cache.zone}/invalidation"

    def call(copies: Sequence[Copies]) -> Call:
        items = "".join(f"<Path>#{tag}</Path>" for tag in _tags(copies))
        paths = f"<Paths><Quantity>{len(copies)}</Quantity><Items>{items}</Items></Paths>"
        # CloudFront ignores a call with the reference of an earlier one.
        reference = f"<CallerReference>{secrets.token_hex(16)}</CallerReference>"
        batch = f'<InvalidationBatch xmlns="{_CLOUDFRONT}">{paths}{reference}</InvalidationBatch>'
        body = batch.encode()
        scope = Scope("cloudfront", "us-east-1", clock())
        signature = signed(key, scope, f"POST {path}", host, body)
        return Call("POST", path, {**signature, "Content-Type": "text/xml"}, body)

    return 100, call, _too_many_in_progress  # of 3,000 that may be under way


_CLOUDFRONT: Final = "http://cloudfront.amazonaws.com/doc/2020-05-31/"


def _too_many_in_progress(status: int, body: bytes) -> str | None:
    if status == 400 and b"TooManyInvalidationsInProgress" in body:
        return "has had too many purges: it answers 400"
    return _status(status, body)


def _bunny(cache: PurgedCache, token: str, _clock: _Clock) -> _Made:
    """Return purges of a pull zone by tag, one in each call."""
    headers = {"AccessKey": token, **JSON}

    def call(copies: Sequence[Copies]) -> Call:
        (one,) = copies
        body = json.dumps({"CacheTag": one.tag}).encode()
        return Call("POST", f"/pullzone/{cache.zone}/purgeCache", headers, body)

    return 1, call, _status


_MAKERS: Mapping[str, Callable[[PurgedCache, str, _Clock], _Made]] = {
    "nginx": _nginx,
    "varnish": _varnish,
    "fastly": _fastly,
    "cloudflare": _cloudflare,
    "cloudflare-worker": _worker,
    "cloudfront": _cloudfront,
    "bunny": _bunny,
}

# nginx and Varnish with the files of `headgate cdn` drop Surrogate-Control from what they send on,
# as Fastly does by itself. CloudFront and Bunny go by Cache-Control, as many others do.
_FIELDS: Mapping[str, str] = {
    "nginx": "Surrogate-Control",
    "varnish": "Surrogate-Control",
    "fastly": "Surrogate-Control",
    "cloudflare": "CDN-Cache-Control",
    "cloudflare-worker": "CDN-Cache-Control",
}


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
