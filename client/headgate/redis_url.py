"""Parse the URLs of a Redis: of a storage of the server, or of resumable streams.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]
    redis+unix://[USER:PASSWORD@]/PATH/TO.sock?db=N
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/SERVICE[/DB]?sentinel_username=…
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],…

Each may have `prefix=NAME` in its query; `rediss` for `redis` means TLS. User, password and query
are percent-encoded. No error message repeats a part of a URL that may hold a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import quote, unquote

from typing_extensions import override

from headgate.hosts import HOST, PORT, check_ipv6, is_port

Deployment = Literal["single", "unix", "sentinel", "cluster"]

DEFAULT_PREFIX = "headgate"
REDIS_PORT = 6379
SENTINEL_PORT = 26379
REDIS_URL = re.compile(r"(?P<tls>rediss|redis)(\+(?P<kind>unix|sentinel|cluster))?://(?P<rest>.*)")
NODE = re.compile(HOST + PORT)
QUERY_KEYS: dict[Deployment, tuple[str, ...]] = {
    "single": ("prefix",),
    "unix": ("prefix", "db"),
    "sentinel": ("prefix", "sentinel_username", "sentinel_password"),
    "cluster": ("prefix",),
}
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed Redis URL: the servers, the login, and the prefix of the keys."""

    kind: Deployment
    nodes: tuple[tuple[str, int], ...]
    path: str
    service: str
    db: int
    username: str | None
    password: str | None = field(repr=False)
    sentinel_username: str | None
    sentinel_password: str | None = field(repr=False)
    tls: bool
    prefix: str

    @override
    def __str__(self) -> str:
        """Return the URL without its passwords."""
        scheme = "rediss" if self.tls else "redis"
        if self.kind != "single":
            scheme += f"+{self.kind}"
        login = "" if self.password is None else f"{_quoted(self.username)}:{HIDDEN}@"
        servers = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.nodes)
        return f"{scheme}://{login}{servers}{self._place()}{self._query()}"

    @property
    def places(self) -> tuple[tuple[str, int, str, int, str], ...]:
        """The place of the keys by each server; storages that share one have the same keys."""
        servers = self.nodes or ((self.path, 0),)
        return tuple(
            (host.lower(), port, self.service, self.db, self.prefix) for host, port in servers
        )

    def _place(self) -> str:
        if self.kind == "unix":
            return quote(self.path)
        parts = [self.service] if self.service else []
        if self.db:
            parts.append(str(self.db))
        return "".join(f"/{part}" for part in parts)

    def _query(self) -> str:
        pairs = {
            "db": str(self.db) if self.db and self.kind == "unix" else "",
            "prefix": "" if self.prefix == DEFAULT_PREFIX else self.prefix,
            "sentinel_username": _quoted(self.sentinel_username),
            "sentinel_password": "" if self.sentinel_password is None else HIDDEN,
        }
        query = "&".join(f"{key}={value}" for key, value in pairs.items() if value)
        return f"?{query}" if query else ""


def parse_redis(url: str) -> RedisUrl:
    """Parse a Redis URL. Raises ValueError, which says what it must be."""
    match = REDIS_URL.fullmatch(url)
    if match is None:
        raise ValueError(
            "must be a redis:// URL, or one of redis+unix://, redis+sentinel://, redis+cluster://; "
            "rediss for redis means TLS"
        )
    if re.search(r"[^!-~]", url):
        raise ValueError("must be a redis:// URL of printable ASCII without spaces")
    _check_encoding(match["rest"])
    kind = next(it for it in get_args(Deployment) if it == (match["kind"] or "single"))
    if kind == "unix" and match["tls"] == "rediss":
        raise ValueError("must be redis+unix:// for a socket, which knows no TLS")
    address, _, query = match["rest"].partition("?")
    authority, slash, path = address.partition("/")
    login, _, servers = authority.rpartition("@")
    username, password = _login(login)
    options = _options(query, kind)
    service, db = _service_and_db(kind, path, options)
    return RedisUrl(
        kind=kind,
        nodes=_nodes(kind, servers),
        path=_socket(slash + path) if kind == "unix" else "",
        service=service,
        db=db,
        username=username,
        password=password,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=_sentinel_password(options),
        tls=match["tls"] == "rediss",
        prefix=_prefix(options.get("prefix", DEFAULT_PREFIX)),
    )


def _check_encoding(rest: str) -> None:
    """Raise ValueError if a password is not percent-encoded, before any part is shown."""
    beyond = re.split(r"[/?]", rest, maxsplit=1)[1:]
    if rest.count("@") > 1 or any("@" in part for part in beyond):
        raise ValueError(
            "must have the characters @ : / ? # % of a user or password percent-encoded, "
            "such as %40 for @"
        )
    if "#" in rest:
        raise ValueError("must have no # in it: write %23 in a user or password")
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise ValueError("must have two hexadecimal digits after each %: write %25 for a % itself")


def _login(text: str) -> tuple[str | None, str | None]:
    if not text:
        return None, None
    username, colon, password = text.partition(":")
    if not colon or text == ":":
        raise ValueError("must have USER:PASSWORD or :PASSWORD in front of its @")
    if ":" in password:
        raise ValueError("must have a : of its password written as %3A")
    return _decoded(username) or None, _decoded(password)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        # The cause would show the text, which may be a part of a password.
        raise ValueError("must have nothing but UTF-8 percent-encoded in it") from None


def _options(query: str, kind: Deployment) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if key not in QUERY_KEYS[kind]:
            known = ", ".join(QUERY_KEYS[kind])
            # What is no usual name may be a password.
            named = f", not {key}" if equals and re.fullmatch("[a-z_]{1,20}", key) else ""
            raise ValueError(f"must have nothing but {known} in its query{named}")
        if key in options:
            raise ValueError(f"must have {key} once in its query")
        options[key] = _decoded(value)
    return options


def _service_and_db(kind: Deployment, path: str, options: dict[str, str]) -> tuple[str, int]:
    if kind == "unix":
        return "", _db(options.get("db", ""))
    if kind == "cluster" and path:
        raise ValueError("must end with its servers: a cluster has no databases to choose from")
    if kind != "sentinel":
        return "", _db(path)
    service, _, db = path.partition("/")
    # What Sentinel itself takes as a name.
    if re.fullmatch(r"[A-Za-z0-9._-]+", service) is None:
        raise ValueError("must have the name of the service after its sentinels, such as /mymaster")
    return service, _db(db)


def _db(text: str) -> int:
    if re.fullmatch(r"\d{0,9}", text, re.ASCII) is None:
        raise ValueError("must have the number of a database, such as 0, where it has a database")
    return int(text or 0)


def _nodes(kind: Deployment, servers: str) -> tuple[tuple[str, int], ...]:
    if kind == "unix":
        if servers:
            raise ValueError("must have three slashes before the path of its socket")
        return ()
    default = SENTINEL_PORT if kind == "sentinel" else REDIS_PORT
    nodes = tuple(_node(server, default) for server in servers.split(","))
    if kind == "single" and len(nodes) > 1:
        raise ValueError(
            "must name one server: several are for redis+sentinel:// and redis+cluster://"
        )
    if len({(host.lower(), port) for host, port in nodes}) < len(nodes):
        raise ValueError("must not name a server twice")
    return nodes


def _node(server: str, default: int) -> tuple[str, int]:
    match = NODE.fullmatch(server)
    port = int(match["port"][1:]) if match and match["port"] else default
    if match is None or not is_port(port):
        raise ValueError("must have HOST or HOST:PORT for each server, an IPv6 HOST in brackets")
    if match["ipv6"] is not None:
        check_ipv6(match["ipv6"])
    return match["ipv6"] or match[1], port


def _socket(path: str) -> str:
    decoded = _decoded(path)
    if not re.fullmatch(r"/[^\0]*[^\0/]", decoded):
        raise ValueError("must have the absolute path of a socket after its three slashes")
    return decoded


def _sentinel_password(options: dict[str, str]) -> str | None:
    password = options.get("sentinel_password")
    if password is None and "sentinel_username" in options:
        raise ValueError("must have a sentinel_password with its sentinel_username")
    return password


def _prefix(prefix: str) -> str:
    # Braces would choose the hash slot in place of those around the stream.
    if re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", prefix) is None:
        raise ValueError("must have a prefix of letters, digits, '-', '_', '.' and ':'")
    return prefix


def _quoted(text: str | None) -> str:
    return quote(text or "", safe="")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
