"""nginx: a cache on the operator's own machines, which turns equal reads into one."""

from __future__ import annotations

import msgspec

from headgate_cdn.target import Ability, Target

_ABILITIES: frozenset[Ability] = frozenset(
    {"caches", "collapses", "sorts-query", "stale", "conditional", "purges", "compresses"}
)
_NGINX = Target(
    name="nginx",
    title="nginx",
    folder="nginx",
    template="nginx.conf.j2",
    file_name="headgate.conf",
    comment="#",
    clears_forwarded='proxy_set_header Forwarded "";',
    does=(
        "Equal long-polls and equal catch-up reads become one request to the gateway.",
        "Lifetimes are those that the gateway says, for CDNs too; stale copies are served while "
        "a new one is fetched, for as long as the gateway allows.",
        "SSE comes through unbuffered; writes and HEAD go through as they are.",
        "History that everybody may read is sent with gzip.",
        "The order of offset, live and cursor makes no difference to the key.",
        "While the gateway is away it tells each EventSource to ask again.",
    ),
    does_not=(
        "It shares no SSE: each such reader has a connection to the gateway.",
        "Readers who wait for one answer look for it every half second, so it reaches them up to "
        "half a second late.",
        "Readers with credentials are not cached: their requests go to the gateway.",
        "It purges only with the module ngx_http_cache_purge, and a whole stream only from its "
        "version 2.4 on. Debian 12 has 2.3: the gateway's purges fail there, as it reports.",
    ),
    abilities=_ABILITIES,
    can_stand_alone=True,
    balances=True,
    credentials=("bypass", "reader-key"),
    why_not={
        "asked": "stock nginx cannot hash a credential, by which a yes is remembered; nginx-njs "
        "can",
        "per-credential": "stock nginx cannot hash a credential, and would have it in its files in "
        "clear; nginx-njs can",
    },
    state="run",
    no_stale_if_error="",
    checked="nginx -t, and the suite of real engines with nginx 1.22; once, by hand, with 1.30.4",
    checker=("nginx", "-t", "-q", "-p", "{folder}", "-c", "{file}"),
    whole="whole.conf.j2",
    machine_folders=("/var/cache/headgate-polls", "/var/cache/headgate"),
)
_NJS = msgspec.structs.replace(
    _NGINX,
    name="nginx-njs",
    title="nginx with njs",
    does=(
        *_NGINX.does[:4],
        "The order of all parameters makes no difference to the key.",
        "With per-credential, readers with credentials have copies of their own, under the "
        "SHA-256 of what tells who they are.",
        "While the gateway is away it holds requests for events for up to 30 s.",
    ),
    does_not=(
        *_NGINX.does_not[:2],
        "With per-credential, a reader's copy is served until its lifetime ends, also when the "
        "gateway or the origin would no longer let that reader in.",
        *_NGINX.does_not[3:],
    ),
    credentials=("bypass", "per-credential", "reader-key", "asked"),
    why_not={"verified": "its njs has no Ed25519 (of Web Crypto it has ECDSA, RSA and HMAC)"},
    checked="nginx -t, and the suite of real engines with nginx 1.22 and njs 0.7.9",
    beside=("nginx-njs-script",),
)
_SCRIPT = msgspec.structs.replace(
    _NJS,
    name="nginx-njs-script",
    title="the script of nginx with njs",
    template="headgate.js.j2",
    file_name="headgate.js",
    comment="//",
    clears_forwarded="",
    does=(
        "It puts the parameters of the query in order, and hashes who a reader is.",
        "It holds requests for events while the gateway is away.",
    ),
    does_not=("It does nothing without the configuration nginx-njs, which imports it.",),
    needs_host=False,
    abilities=frozenset({"compresses"}),
    checked="node --check, and with nginx-njs",
    checker=("node", "--check", "{file}"),
    whole="",
    machine_folders=(),
    beside=(),
)
TARGETS = (_NGINX, _NJS, _SCRIPT)
