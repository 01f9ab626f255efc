"""The kinds of values that settings have: how each is parsed, checked and shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import override

from headgate.hosts import HOST, PORT, check_ipv6, is_port
from headgate_gateway.protocol.http.forwarding import OF_THE_GATEWAY
from headgate_gateway.protocol.http.paths import fits
from headgate_gateway.settings.log_kinds import KINDS, kind_of
from headgate_gateway.settings.reading import hints
from headgate_gateway.settings.reading.units import DURATION, DURATION_KIND, seconds_of
from headgate_gateway.settings.reading.values import (
    Converter,
    Serializer,
    TextPattern,
    Validator,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE_KIND = "the path of a file"
SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True, slots=True)
class ValueKind:
    """The description of a kind of value, in words that continue "must be".

    `hint` returns words to follow them if it can tell which valid value a text was meant to be.
    """

    words: str
    hint: hints.Hint = hints.none


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a listener; its text has IPv6 in brackets."""

    host: str
    port: int

    @property
    def is_ipv4(self) -> bool:
        """True when the host is an IPv4 address, rather than IPv6 or a name."""
        return re.fullmatch(r"[\d.]+", self.host) is not None

    @property
    def reached_at(self) -> str:
        """The host by which this machine reaches it: loopback for an unspecified address."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self.host  # a name
        if not address.is_unspecified:
            return self.host
        return "127.0.0.1" if address.version == 4 else "::1"

    @override
    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


_ADDRESS = r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):(\d{1,5})"
ADDRESS_KIND = "HOST:PORT, such as 127.0.0.1:4437 or [::1]:4437"


def parse_address(value: object) -> Address:
    """Parse `HOST:PORT`. Raises ValueError."""
    if isinstance(value, Address):
        return value
    match = re.fullmatch(_ADDRESS, str(value))
    if match is None:
        raise ValueError(f"must be {ADDRESS_KIND}")
    if int(match[3]) > 65535:
        raise ValueError("must have a port from 0, which is any that is free, to 65535")
    return Address(match[1] or match[2], int(match[3]))


def clash(one: Address, other: Address) -> bool:
    """Return whether two listeners cannot have these addresses; names are not resolved."""
    if one.port != other.port or one.port == 0:
        return False
    every = Address("0.0.0.0", one.port)  # noqa: S104 - it is compared, not bound
    return one == other or (every in {one, other} and one.is_ipv4 and other.is_ipv4)


_SIZE = r"(\d+)\s*(B|KiB|MiB|GiB)?"
SIZE_KIND = "a size such as 16MiB, in B, KiB, MiB or GiB"


def parse_size(value: object) -> object:
    """Parse a size such as `16MiB` into bytes; return other values unchanged."""
    if not isinstance(value, str):
        return value
    if match := re.fullmatch(_SIZE, value):
        return int(match[1]) * SIZES[match[2] or "B"]
    if re.fullmatch(r"\d+\.\d*\s*(B|KiB|MiB|GiB)", value):
        raise ValueError("must have no fraction: write it in a smaller unit")
    if short := re.fullmatch(r"(\d+)\s*([kmg])i?b?", value, re.IGNORECASE):
        raise ValueError(f"must be in B, KiB, MiB or GiB: write {short[1]}{short[2].upper()}iB")
    raise ValueError(f"must be {SIZE_KIND}")


def parse_seconds(value: object) -> object:
    """Parse a duration with a unit, such as `5m`, into seconds; return other values unchanged."""
    seconds = seconds_of(value) if isinstance(value, str) else None
    return value if seconds is None else seconds


def show_size(size: int) -> str:
    """Return a number of bytes in the largest unit that needs no fraction."""
    unit = max((unit for unit in SIZES if size % SIZES[unit] == 0), key=SIZES.__getitem__)
    return f"{size // SIZES[unit]}{unit}" if size else "0"


STORAGE_KIND = f"one of {', '.join(kind.words for kind in KINDS.values())}"
ORIGIN_KIND = "http(s)://HOST[:PORT][/PATH] or a list of such URLs"
ORIGIN_URL = re.compile(rf"https?://{HOST}{PORT}(?P<path>(/[A-Za-z0-9._~!$&'()*+;=:@%-]*)*)")
_LOGS = "|".join(kind.form.pattern for kind in KINDS.values())
_SEVERAL = rf"{ORIGIN_URL.pattern}(\s*,\s*https?://[^\s,?#]+)*"


def check_origin(value: object) -> str:
    """Return a valid origin; several URLs become one text, separated by commas."""
    if value == "":
        return ""
    items = value if isinstance(value, list | tuple) else [value]
    return ",".join(check_urls(items, ORIGIN_KIND))


def check_urls(items: Sequence[object], kind: str) -> tuple[str, ...]:
    """Return the http(s) URLs in `items`, which have to be of a `kind`. Raises ValueError."""
    urls = split_origins(",".join(map(str, items)))
    for url in urls:
        _check_url(url, kind)
    if len(set(urls)) < len(urls):
        raise ValueError("must not name a server twice")
    if not urls:
        raise ValueError(f"must be {kind}")
    return urls


def check_storage(value: str) -> str:
    """Return the URL of a storage, or "" for none. Raises ValueError."""
    kind = kind_of(value)
    if value and kind is None:
        raise ValueError(f"must be {STORAGE_KIND}")
    if kind is not None:
        kind.check(value)
    return value


def _check_url(url: str, kind: str) -> None:
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("must have no user and password in it: the origin gets those of readers")
    if "?" in url or "#" in url:
        raise ValueError("must end with its path: what follows a ? or # comes with each request")
    match = ORIGIN_URL.fullmatch(url)
    if match is None or not is_port(int((match["port"] or ":80")[1:])):
        raise ValueError(f"must be {kind}")
    if match["ipv6"] is not None:
        check_ipv6(match["ipv6"])
    if {".", ".."} & set(match["path"].split("/")):
        raise ValueError("must have no . and .. in its path")


def split_origins(origin: str) -> tuple[str, ...]:
    """Return the http(s) URLs of an origin; none if it is a log."""
    if not origin.startswith(("http://", "https://")):
        return ()
    return tuple(url.strip() for url in origin.split(",") if url.strip())


def redacted_origin(origin: str) -> str:
    """Return an origin as it may be shown: with an absolute folder, without secrets."""
    kind = kind_of(origin)
    return origin if kind is None else kind.redact(origin)


PREFIX_KIND = (
    "a path such as /v1/stream: it starts with a slash, does not end with one, "
    "and holds letters, digits, '-', '.', '_' and '~'"
)


_PREFIX = r"(/[A-Za-z0-9._~-]+)+"


def check_prefix(value: str) -> str:
    """Return a route's prefix in canonical form. Raises ValueError."""
    dots = {".", ".."} & set(value.split("/"))
    if dots or not re.fullmatch(_PREFIX, value):
        raise ValueError(f"must be {PREFIX_KIND}")
    return value


DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_CORS = r"[a-z][a-z0-9+.-]*://[^\s/?#@,]+"
CORS_KIND = "* or an origin such as https://example.com"


def check_cors_origin(value: str) -> str:
    """Return a web origin in the form that browsers send, or `*`. Raises ValueError."""
    if value.endswith("/") and value.count("/") == 3:
        raise ValueError("must not end with a slash, as browsers send it without one")
    if value != "*" and not re.fullmatch(_CORS, value):
        raise ValueError(f"must be {CORS_KIND}")
    scheme, _, host = value.partition("://")
    sent = f"{scheme}://{host.lower().removesuffix(DEFAULT_PORTS.get(scheme, ':'))}"
    if value not in {"*", sent}:
        raise ValueError(f"must be as browsers send it: {sent}")
    return value


NETWORK_KIND = "an address or a network such as 10.0.0.0/8"


def check_network(value: str) -> str:
    """Return a network in canonical form; an address becomes a network of its own."""
    try:
        return str(ip_network(value))
    except ValueError as cause:
        hint = ": its host bits must be 0" if "host bits" in str(cause) else ""
        raise ValueError(f"must be {NETWORK_KIND}{hint}") from cause


HOST_KIND = "a host without a port, such as streams.example.com"


def check_host(value: str) -> str:
    """Return a host without a port. Raises ValueError."""
    match = re.fullmatch(HOST, value)
    if match is None:
        raise ValueError(f"must be {HOST_KIND}")
    if match["ipv6"] is not None:
        check_ipv6(match["ipv6"])
    return value


QUERY_KEYS_KIND = "a list of query keys, such as utm_*"
_QUERY_KEY = r"[^\s*&=#?]+\*?|\*"
PROTOCOL_KEYS = ("offset", "live", "cursor")


def check_query_key(value: str) -> str:
    """Return a query key, or a prefix of keys with a `*`. Raises ValueError."""
    if re.fullmatch(_QUERY_KEY, value) is None:
        raise ValueError("must be a query key, which may end with a *")
    dropped = [key for key in PROTOCOL_KEYS if fits(value, key)]
    if dropped:
        raise ValueError(f"must not fit {dropped[0]}, which the protocol needs")
    return value


HEADER_NAMES_KIND = "a list of header names"
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"


def check_header_name(value: str) -> str:
    """Return a header name that is forwarded unchanged. Raises ValueError."""
    if re.fullmatch(_HEADER_NAME, value) is None:
        raise ValueError("must be the name of a header")
    if value.lower() in OF_THE_GATEWAY:
        raise ValueError("must be a header that the origin gets as readers send it")
    return value


HEALTH_PATH_KIND = "a path such as /health"
_HEALTH_PATH = r'(/[!"$-~]*)?'


def check_health_path(value: str) -> str:
    """Return a path with an optional query. Raises ValueError."""
    if re.fullmatch(_HEALTH_PATH, value) is None:
        raise ValueError(f"must be {HEALTH_PATH_KIND}")
    return value


def split_list(value: object) -> object:
    """Parse a text as a comma-separated list; other values are unchanged."""
    if not isinstance(value, str):
        return value
    return [item.strip() for item in value.split(",") if item.strip()]


AS_TEXT = (Converter(split_list), TextPattern())  # a list that may be written as a text

ROUTES_KIND = "an array of tables, each with prefix, and storage or origin"


Seconds = Annotated[
    float,
    Converter(parse_seconds),
    ValueKind(f"a number of seconds (or {DURATION_KIND})", hints.of_seconds),
    TextPattern(DURATION),
]
WholeSeconds = Annotated[
    int,
    Converter(parse_seconds),
    ValueKind(f"a whole number of seconds (or {DURATION_KIND})", hints.of_whole_seconds),
    TextPattern(DURATION),
]
Count = Annotated[int, ValueKind("a whole number", hints.of_number)]
Size = Annotated[
    int, Converter(parse_size), Serializer(show_size), ValueKind(SIZE_KIND), TextPattern(_SIZE)
]
Listen = Annotated[
    Address,
    Converter(parse_address),
    Serializer(str),
    ValueKind(ADDRESS_KIND, hints.of_address),
    TextPattern(_ADDRESS),
]
Storage = Annotated[
    str,
    Validator(check_storage),
    ValueKind(STORAGE_KIND, hints.of_storage),
    TextPattern(rf"({_LOGS})?"),
]
Origin = Annotated[
    str,
    Converter(check_origin),
    ValueKind(ORIGIN_KIND, hints.of_origin),
    TextPattern(rf"({_SEVERAL})?", is_or_list=True),
]
Prefix = Annotated[str, Validator(check_prefix), ValueKind(PREFIX_KIND), TextPattern(_PREFIX)]
CorsOrigin = Annotated[str, Validator(check_cors_origin), TextPattern(rf"\*|{_CORS}")]
CorsOrigins = Annotated[
    tuple[CorsOrigin, ...], *AS_TEXT, ValueKind(f"a list, each item {CORS_KIND}")
]
ServedHost = Annotated[str, Validator(check_host), TextPattern(HOST)]
Hosts = Annotated[tuple[ServedHost, ...], *AS_TEXT, ValueKind(f"a list, each item {HOST_KIND}")]
Network = Annotated[str, Validator(check_network)]
Networks = Annotated[tuple[Network, ...], *AS_TEXT, ValueKind(f"a list, each item {NETWORK_KIND}")]
QueryKey = Annotated[str, Validator(check_query_key), TextPattern(_QUERY_KEY)]
QueryKeys = Annotated[tuple[QueryKey, ...], *AS_TEXT, ValueKind(QUERY_KEYS_KIND)]
HeaderName = Annotated[str, Validator(check_header_name), TextPattern(_HEADER_NAME)]
HeaderNames = Annotated[tuple[HeaderName, ...], *AS_TEXT, ValueKind(HEADER_NAMES_KIND)]
HealthPath = Annotated[
    str, Validator(check_health_path), ValueKind(HEALTH_PATH_KIND), TextPattern(_HEALTH_PATH)
]
FilePath = Annotated[str, ValueKind(FILE_KIND)]
Flag = Annotated[bool, ValueKind("true or false")]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
RequestLevel = Literal["debug", "info", "warning", "error", "off"]
