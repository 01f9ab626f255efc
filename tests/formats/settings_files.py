"""Files of settings that together have every setting there is, as operators write them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from headgate_gateway.settings import load
from headgate_gateway.settings.setting_descriptions import describe_settings
from tests.support.certificates import Authority
from tests.support.passwords import cheap_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.settings.reading.values import Place

YEARS = 60  # for which the certificates are valid
# A server with streams of its own, and with everything that can be in front of them.
HOSTED = """\
# Every table; what excludes something here is in one of the other files.
listen = "127.0.0.1:14437"
workers = 1
auth = ["tokens"]

[admin]
listen = "[::1]:14439"

[admin.tls]
certificate = "server.pem"
key = "server.key"
client_ca = "authority.pem"

[[admin.users]]
name = "ann@example.com"
role = "operator"
password_hash = "PASSWORD_HASH"

[[admin.tokens]]
name = "script"
role = "viewer"
token = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

[tls]
certificate = "server.pem"
key = "server.key"
client_ca = "authority.pem"
minimum_version = "1.3"

[http]
hosts = ["streams.example.com"]
cors_origins = ["https://app.example.com"]
write_origins = ["https://app.example.com"]
public_url = "https://streams.example.com"
trusted_proxies = ["10.0.0.0/8", "::1"]
body_timeout = 20
keepalive_timeout = "1m"

[credentials]
tokens_file = "tokens.toml"
keys_file = "keys.json"
read_token_max_age = "10m"

[[credentials.jwt_issuers]]
issuer = "https://id.example.com/"
audience = "streams"
jwks = "jwks.json"
algorithms = ["ES256", "EdDSA"]
typ = "at+jwt"
grants_claim = "streams"
grants = [{ streams = "/v1/stream/users/{sub}/*", operations = ["read", "append"] }]

[limits]
max_append = "8MiB"
max_pending_appends = "128MiB"
max_connections = 5000
max_live_readers = 4000
max_feeds = 900
max_client_appends = 100
max_client_creations = 2000
max_loop_lag = 0.5
cache_size = "64MiB"

[live]
long_poll_timeout = 25
sse_heartbeat = 10
sse_max_age = 24

[log]
level = "warning"
format = "json"
requests = "info"

[shutdown]
grace = 5

[subscriptions]
max_per_client = 50

[outbound]
proxy = "http://proxy.example.com:3128"

[[routes]]
prefix = "/v1/stream"
storage = "file:./streams"
runs = true
mcp_events = true
mcp_events_file = "events.toml"
listing = "on"
retention_age = "7d"
retention_size = "64MiB"
retention_messages = 100_000
default_ttl = "1d"
max_ttl = "30d"
max_storage_size = "10GiB"
auth = ["tokens", "jwt", "read-tokens"]
visibility = "private"
conceal = "on"
reader_keys = "on"
chunk_max_age = 3600
stale_while_revalidate = 60
tail_max_age = 2
closed_max_age = 30
tail_directive = "max-age=0"

[[routes]]
prefix = "/v1/news"
storage = "memory:"
auth = ["tokens"]
anonymous = ["read"]

[[routes]]
prefix = "/v1/shared"
storage = "redis+unix:///run/fixture.sock?db=1&prefix=other"
wait_replicas = 1
tls_ca = ""

[[routes]]
prefix = "/v1/remote"
origin = ["https://one.example.com", "https://two.example.com/base"]
auth = "origin"
stale_if_error = 120
drop_query = ["utm_*", "ref"]
identity_headers = ["X-User"]
drop_headers = ["X-Internal"]
response_timeout = 15
max_origin_requests = 100
health_path = "/health"
health_interval = 2.5
tls_ca = "authority.pem"

[[models]]
prefix = "/openai"
upstream = ["https://api.example.com", "https://api2.example.com"]
dialect = "openai"
streams = "/v1/stream/answers"
key_file = "provider.key"
auth = ["tokens"]
ttl = "2d"
public = true
leave = "go-on"
read_timeout = 300
max_answer_size = "16MiB"
max_answers = 200
max_client_answers = 20
max_passed = 300
max_client_passed = 30

[[proxies]]
prefix = "/v1/proxy"
streams = "/v1/stream/proxied"
allow = ["api.example.com"]
allow_inside = ["http://10.0.0.7:8000"]
secret_file = "proxy.secret"
auth = ["tokens"]
ttl = "1h"
read_timeout = 60
max_answer_size = "1MiB"
max_answers = 100
max_client_answers = 10

[[purges]]
kind = "nginx"
url = "http://10.0.0.8"
host = "streams.example.com"

[[purges]]
kind = "fastly"
zone = "SU1Z0isxPaozGVKXdv0eY"
token_file = "fastly.token"
"""
STORAGE = """\
# The one storage of a server, its front, and more than one process.
storage = "redis+sentinel://127.44.39.1,127.44.39.2:26380/streams/2"
workers = 4

[front]
hosts = ["streams.example.com"]
listen = "127.0.0.1:14443"
acme = "internal"
data = "./front"
"""
ORIGIN = """\
# A cache in front of another server, with a feature from outside.
origin = "https://streams.example.com"
features = []
auth = []
"""
TOKENS = """\
[[tokens]]
name = "shop"
token = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
grants = [
    { streams = "/v1/*", operations = ["create", "append", "read"] },
    { streams = "/openai/*", operations = ["append", "read"] },
]
expires = 2099-12-31T00:00:00Z
"""
FILES = {"hosted.toml": HOSTED, "storage.toml": STORAGE, "origin.toml": ORIGIN}


def make_settings(folder: Path) -> None:
    """Write the files, and those that they name, into a new folder."""
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text.replace("PASSWORD_HASH", cheap_hash("fixture")))
    authority = Authority("fixture", folder / "authority.pem")
    authority.issue("server", YEARS * 365, ("streams.example.com", "localhost")).write(folder)
    key = generate_private_key(SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys = {"keys": [{**jwk, "kid": "one", "alg": "ES256", "use": "sig"}]}
    (folder / "jwks.json").write_text(json.dumps(keys))
    (folder / "tokens.toml").write_text(TOKENS)
    (folder / "events.toml").write_text(
        '[[events]]\nname = "order.updated"\nstreams = "orders/*"\n'
    )
    for name in ("provider.key", "fastly.token", "proxy.secret"):
        (folder / name).write_text("fixture-" * 8)
        (folder / name).chmod(0o600)


def values_in(file: Path) -> dict[str, Any]:
    """Return the value of each setting, given or not, as a file has them in effect."""
    return load(file, {}, {}).plain(secrets=True)


def left_out(folder: Path) -> list[str]:
    """Return the settings that none of the files has."""
    given: set[str] = set()
    for name in FILES:
        given |= {*_keys(load(folder / name, {}, {}).plain(explicit_only=True), "")}
    declared = [it for it, _ in describe_settings()]
    for one, array in describe_settings():
        if array.table is not None:
            place: Place = (*one.path.split("."), 0)
            declared += [it for it, _ in describe_settings(array.table, place)]
    return sorted({it.path for it in declared} - given)


def _keys(values: Any, at: str) -> Iterator[str]:
    """Yield the path of each key, with [0] for every table of an array."""
    if isinstance(values, dict):
        for key, value in values.items():
            path = f"{at}.{key}" if at else key
            yield path
            yield from _keys(value, path)
    elif isinstance(values, list):
        for value in values:
            yield from _keys(value, f"{at}[0]")
