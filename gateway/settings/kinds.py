"""What a setting's value can be, and how it is read and shown."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value must be, in words that continue "must be"."""

    words: str


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. It prints as it is written, IPv6 in brackets."""

    host: str
    port: int

    @property
    def is_ipv4(self) -> bool:
        """Whether the host is an IPv4 address, rather than IPv6 or a name."""
        return re.fullmatch(r"[\d.]+", self.host) is not None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


ADDRESS_KIND = "HOST:PORT, such as 127.0.0.1:4437 or [::1]:4437"


def parse_address(value: object) -> Address:
    """`HOST:PORT` as an address."""
    if isinstance(value, Address):
        return value
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):(\d{1,5})", str(value))
    if match is None or int(match[3]) > 65535:
        raise ValueError(f"must be {ADDRESS_KIND}")
    return Address(match[1] or match[2], int(match[3]))


def clash(one: Address, other: Address) -> bool:
    """Whether no two listeners can have these; names are left to the system to compare."""
    if one.port != other.port or one.port == 0:
        return False
    every = Address("0.0.0.0", one.port)  # noqa: S104 - it is looked for, not bound
    return one == other or (every in {one, other} and one.is_ipv4 and other.is_ipv4)


SIZE_KIND = "a size such as 16MiB, in B, KiB, MiB or GiB"


def parse_size(value: object) -> object:
    """`16MiB` as a number of bytes; numbers pass."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+\.\d*\s*(B|KiB|MiB|GiB)", value):
        raise ValueError("must have no fraction: write it in a smaller unit")
    if short := re.fullmatch(r"(\d+)\s*([kmg])b?", value, re.IGNORECASE):
        raise ValueError(f"must be in B, KiB, MiB or GiB: write {short[1]}{short[2].upper()}iB")
    match = re.fullmatch(r"(\d+)\s*(B|KiB|MiB|GiB)?", value)
    if match is None:
        raise ValueError(f"must be {SIZE_KIND}")
    return int(match[1]) * SIZES[match[2] or "B"]


def show_size(size: int) -> str:
    """A number of bytes in the largest unit that needs no fraction."""
    unit = max((unit for unit in SIZES if size % SIZES[unit] == 0), key=SIZES.__getitem__)
    return f"{size // SIZES[unit]}{unit}" if size else "0"


ORIGIN_KIND = "one of memory:, file:PATH"


def check_origin(value: str) -> str:
    """An origin's URL, of a scheme that exists."""
    scheme, _, path = value.partition(":")
    if scheme == "file" and path.startswith("~"):
        raise ValueError("must have its folder written out: ~ is not expanded here")
    if (scheme == "file" and path) or value == "memory:":
        return value
    raise ValueError(f"must be {ORIGIN_KIND}")


def absolute_origin(origin: str) -> str:
    """The origin with its folder as it is found from the working directory."""
    path = origin.removeprefix("file:")
    return origin if path == origin else f"file:{Path(path).absolute()}"


PREFIX_KIND = (
    "a path such as /v1/stream: it starts with a slash, does not end with one, "
    "and holds letters, digits, '-', '.', '_' and '~'"
)


def check_prefix(value: str) -> str:
    """A route's prefix, in the one spelling that URLs are compared in."""
    dots = {".", ".."} & set(value.split("/"))
    if dots or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise ValueError(f"must be {PREFIX_KIND}")
    return value


CORS_KIND = "* or an origin such as https://example.com"


def check_cors_origin(value: str) -> str:
    """A web origin as browsers send it, or `*`."""
    if value.endswith("/") and value.count("/") == 3:
        raise ValueError("must not end with a slash, as browsers send it without one")
    if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#@,]+", value):
        raise ValueError(f"must be {CORS_KIND}")
    return value


def split_list(value: object) -> object:
    """The text of an environment variable as a list: a JSON array, or comma separated."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return read_json(value)
    return [item.strip() for item in value.split(",") if item.strip()]


ROUTES_KIND = "an array of tables, each with prefix and origin"
ROUTE_KIND = "a table with prefix and origin"


def read_json(value: object) -> object:
    """The text of an environment variable as JSON; other values pass."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as cause:
        raise ValueError("must be a JSON array") from cause


# Strict: a number in quotes is text in a file, and only the environment and flags are all text.
Seconds = Annotated[float, Kind("a number of seconds"), Field(allow_inf_nan=False, strict=True)]
WholeSeconds = Annotated[int, Kind("a whole number of seconds"), Field(strict=True)]
Count = Annotated[int, Kind("a whole number"), Field(strict=True)]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(show_size), Kind(SIZE_KIND)]
Listen = Annotated[
    Address, BeforeValidator(parse_address), PlainSerializer(str), Kind(ADDRESS_KIND)
]
Origin = Annotated[str, AfterValidator(check_origin), Kind(ORIGIN_KIND)]
Prefix = Annotated[str, AfterValidator(check_prefix), Kind(PREFIX_KIND)]
CorsOrigin = Annotated[str, AfterValidator(check_cors_origin)]
CorsOrigins = Annotated[
    tuple[CorsOrigin, ...], BeforeValidator(split_list), Kind(f"a list, each item {CORS_KIND}")
]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
RequestLevel = Literal["debug", "info", "warning", "error", "off"]
