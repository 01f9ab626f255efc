"""Every setting, declared once: name, type, default, unit, bounds and help."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

ENVIRONMENT_PREFIX = "HEADGATE_"
# Read by the command line itself, hence no setting.
CONFIG_VARIABLE = "HEADGATE_CONFIG"
DEFAULT_PREFIX = "/v1/stream"
# What Kubernetes puts into every container when a Service is called "headgate".
SERVICE_LINK = re.compile(
    r"HEADGATE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
)
SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
GIB = SIZES["GiB"]
SHOWN_CHARACTERS = 80


class SettingsError(Exception):
    """The settings cannot be used; `problems` has one sentence for each mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


# ---------------------------------------------------------------- kinds of values


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value must be, in words that continue "must be"."""

    words: str


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. It prints as it is written, IPv6 in brackets."""

    host: str
    port: int

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


SIZE_KIND = "a size such as 16MiB, in B, KiB, MiB or GiB"


def parse_size(value: object) -> object:
    """`16MiB` as a number of bytes; numbers pass."""
    if not isinstance(value, str):
        return value
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
    if (scheme == "file" and path) or value == "memory:":
        return value
    raise ValueError(f"must be {ORIGIN_KIND}")


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


def read_json(value: object) -> object:
    """The text of an environment variable as JSON; other values pass."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as cause:
        raise ValueError("must be a JSON array") from cause


Seconds = Annotated[float, Kind("a number of seconds"), Field(allow_inf_nan=False)]
WholeSeconds = Annotated[int, Kind("a whole number of seconds")]
Count = Annotated[int, Kind("a whole number")]
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

# ---------------------------------------------------------------- declarations

YEAR_S = 365 * 24 * 3600
LONGEST_S = 3600


def refuse_yes_and_no(value: object) -> object:
    """No setting is a yes or no, and Python would take `true` for the number 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("boolean", "a boolean is no value here")
    return value


class Route(BaseModel):
    """A path prefix, and where its streams live."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: Prefix = Field(description="Path that the URLs of the route's streams start with.")
    origin: Origin = Field(description="URL of the place where the route's streams live.")
    max_age: WholeSeconds = Field(
        60, ge=0, le=YEAR_S, description="How long caches may keep a catch-up answer."
    )
    stale_while_revalidate: WholeSeconds = Field(
        300,
        ge=0,
        le=YEAR_S,
        description="How long after that caches may serve it while they ask for a new one.",
    )
    tail_max_age: WholeSeconds = Field(
        60,
        ge=0,
        le=YEAR_S,
        description="The same as max_age, for an answer that reached the tail of the stream.",
    )

    _no_booleans = field_validator("*", mode="before")(refuse_yes_and_no)


class Settings(BaseSettings):
    """What an operator can choose."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX, validate_default=True
    )

    listen: Listen = Field(
        Address("127.0.0.1", 4437), description="Address of the listener for streams."
    )
    admin: Listen = Field(
        Address("127.0.0.1", 4439), description="Address of the listener for health checks."
    )
    origin: Origin = Field(
        "file:./headgate-data",
        description=f"Where the streams of the only route, {DEFAULT_PREFIX}, live; "
        "not together with routes.",
    )
    routes: Annotated[tuple[Route, ...], BeforeValidator(read_json), Kind(ROUTES_KIND)] = Field(
        (), description="Path prefixes and their origins; the longest prefix that fits is taken."
    )
    long_poll_timeout: Seconds = Field(
        20.0, ge=0.1, le=300, description="How long a long-poll at the tail waits for data."
    )
    sse_heartbeat: Seconds = Field(
        15.0,
        ge=0.1,
        le=LONGEST_S,
        description="How often an idle SSE reader is sent a comment, so that proxies keep it.",
    )
    # Clients give SSE up for good after a few connections that end within their first second.
    sse_max_age: Seconds = Field(
        60.0,
        ge=1,
        le=24 * LONGEST_S,
        description="How long an SSE answer lasts before the client has to ask again.",
    )
    # The body of an append is held in memory until it is on disk.
    max_append: Size = Field(
        16 << 20, ge=1, le=GIB, description="Longest body of one append or create."
    )
    max_pending_appends: Size = Field(
        256 << 20,
        ge=1,
        le=1024 * GIB,
        description="Bytes of appends that may wait for the disk; not less than max_append.",
    )
    max_connections: Count = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Most connections at once; 0 means nine tenths of the open-file limit.",
    )
    max_live_readers: Count = Field(
        100_000, ge=1, le=10_000_000, description="Most long-polls and SSE readers at once."
    )
    cache_size: Size = Field(
        256 << 20, ge=0, le=1024 * GIB, description="Memory for cached answers; 0 means no cache."
    )
    header_timeout: Seconds = Field(
        10.0,
        ge=0.1,
        le=LONGEST_S,
        description="How long a client may take to send the head of a request.",
    )
    body_timeout: Seconds = Field(
        30.0, ge=0.1, le=LONGEST_S, description="Longest wait for more of a request's body."
    )
    keepalive_timeout: Seconds = Field(
        75.0, ge=0.1, le=LONGEST_S, description="How long a connection may stay idle."
    )
    shutdown_grace: Seconds = Field(
        10.0, ge=0, le=LONGEST_S, description="How long requests may go on after SIGTERM."
    )
    cors_origins: CorsOrigins = Field(
        ("*",), description="Web origins whose pages may use the streams; * means all."
    )
    log_level: LogLevel = Field("info", description="Least severe level that is logged.")
    log_format: LogFormat = Field(
        "auto", description="Shape of a log line; auto means console on a terminal, else json."
    )
    log_requests: RequestLevel = Field(
        "debug", description="Level at which each request writes one line; off means never."
    )

    _no_booleans = field_validator("*", mode="before")(refuse_yes_and_no)

    @field_validator("routes")
    @classmethod
    def _routes_differ(cls, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        prefixes = [route.prefix for route in routes]
        # A folder is locked by the one log that lives in it; memory is everybody's own.
        paths = [route.origin.removeprefix("file:") for route in routes]
        folders = [f"file:{PurePath(path)}" for path in paths if path != "memory:"]
        for given in (prefixes, folders):
            if twice := [name for name, count in Counter(given).items() if count > 1]:
                raise ValueError(f"must not have two routes for {', '.join(twice)}")
        return routes

    @field_validator("max_pending_appends")
    @classmethod
    def _one_append_fits(cls, size: int, info: ValidationInfo) -> int:
        longest = info.data.get("max_append", 0)
        if size < longest:
            raise ValueError(f"must not be less than max_append, {show_size(longest)}")
        return size

    @property
    def route_table(self) -> tuple[Route, ...]:
        """The routes in force, the longest prefix first."""
        routes = self.routes or (Route(prefix=DEFAULT_PREFIX, origin=self.origin),)
        return tuple(sorted(routes, key=lambda route: -len(route.prefix)))

    def connection_limit(self, open_files: int) -> int:
        """Most connections at once, for a process that may open so many files."""
        # A tenth is left for the log, the listeners and whatever the libraries open.
        return self.max_connections or open_files * 9 // 10

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: `load` is handed its sources."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting as documents and error messages speak of it."""

    key: str
    environment: str
    default: str
    allowed: str
    help: str


def declarations(model: type[BaseModel] = Settings) -> tuple[Declaration, ...]:
    """The settings in the order of their declaration."""
    shown = model.model_construct().model_dump(mode="json") if model is Settings else {}
    return tuple(
        Declaration(
            key=key,
            environment=_variable(key) if model is Settings else "",
            default=_default(shown.get(key, field.default), required=field.is_required()),
            allowed=_allowed(field),
            help=field.description or "",
        )
        for key, field in model.model_fields.items()
    )


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.upper()


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _default(value: object, *, required: bool) -> str:
    if required:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _allowed(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(get_args(field.annotation))}"
    words = next(item.words for item in field.metadata if isinstance(item, Kind))
    bounds = [*_limits(field, Ge, "ge"), *_limits(field, Le, "le")]
    if not bounds:
        return words
    least, most = map(show_size, bounds) if words == SIZE_KIND else (f"{it:,}" for it in bounds)
    return f"{words}, from {least} to {most}"


def _limits(field: FieldInfo, bound: type[Ge | Le], name: str) -> list[int]:
    return [getattr(item, name) for item in field.metadata if isinstance(item, bound)]


# ---------------------------------------------------------------- loading


@dataclass(frozen=True, slots=True)
class _Given:
    """A value with the words that tell where it came from."""

    value: object
    source: _TomlFile | str

    def subject(self, path: tuple[str | int, ...]) -> str:
        """The setting, or the part of it at `path`, as its author wrote it."""
        if isinstance(self.source, str):
            return self.source + _spell(path[1:])
        return f"{self.source.position(path)}: {_spell(path)}"


@dataclass(frozen=True, slots=True)
class _TomlFile:
    """A configuration file whose text tells the lines of its keys."""

    path: Path
    text: str

    def position(self, path: tuple[str | int, ...]) -> str:
        """`FILE:LINE`, or `FILE` alone where the line cannot be told."""
        spots = tuple(self._spots())
        # A key that is missing is told by the line of its table.
        for length in range(len(path), 0, -1):
            for spot, line in spots:
                if spot[:length] == path[:length]:
                    return f"{self.path}:{line}"
        return str(self.path)

    def _spots(self) -> Iterator[tuple[tuple[str | int, ...], int]]:
        """Each key and table header with its line; tomllib itself tells none."""
        table: tuple[str | int, ...] = ()
        headers: Counter[str] = Counter()
        for number, line in enumerate(self.text.splitlines(), start=1):
            if match := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
                table = (match[1], headers[match[1]])
                headers[match[1]] += 1
                yield table, number
            elif match := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
                table = (match[1],)
                yield table, number
            elif match := re.match(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([\w-]+))\s*[=.]", line):
                yield (*table, match[1] or match[2] or match[3]), number


def load(
    config: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]
) -> Settings:
    """The settings of a file, the environment and flags, each over the one before it.

    Raises SettingsError with every problem there is.
    """
    problems: list[str] = []
    given = _from_file(config, problems) if config is not None else {}
    given |= _from_environment(environment, problems)
    given |= {key: _Given(value, _flag(key)) for key, value in flags.items() if value is not None}
    for key in [key for key in given if key not in Settings.model_fields]:
        problems.append(_unknown(given.pop(key).subject((key,)), key, Settings))
    if {"origin", "routes"} <= given.keys():
        both = " and ".join(given[key].subject((key,)) for key in ("origin", "routes"))
        problems.append(f"{both} exclude each other: give a route for each origin, or one origin.")
    try:
        settings = Settings.model_validate({key: item.value for key, item in given.items()})
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False)
        problems += [_problem(error, given) for error in errors]
        raise SettingsError(tuple(problems)) from refusal
    if problems:
        raise SettingsError(tuple(problems))
    return settings


def _from_file(path: Path, problems: list[str]) -> dict[str, _Given]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as cause:
        problems.append(f"{path} cannot be read: {cause.strerror}.")
    except UnicodeDecodeError:
        problems.append(f"{path} is not UTF-8 text, hence not TOML.")
    except tomllib.TOMLDecodeError as cause:
        problems.append(f"{path} is not TOML: {cause}.")
    else:
        return {key: _Given(value, _TomlFile(path, text)) for key, value in values.items()}
    return {}


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    given = {}
    known = {_variable(key): key for key in Settings.model_fields}
    for name in sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX)):
        if name in known:
            given[known[name]] = _Given(environment[name], name)
        elif name != CONFIG_VARIABLE and not SERVICE_LINK.fullmatch(name):
            problems.append(f"{name} is not a setting; the nearest is {_nearest(name, known)}.")
    return given


def _problem(error: ErrorDetails, given: Mapping[str, _Given]) -> str:
    """One sentence for one of pydantic's errors."""
    path = error["loc"]
    model: type[BaseModel] = Settings if len(path) == 1 or path[0] != "routes" else Route
    key = str(path[0] if model is Settings else path[-1])
    item = given.get(str(path[0]))
    # Without a value given, a default clashes with another setting.
    subject = item.subject(path) if item else _spell(path)
    if error["type"] == "extra_forbidden":
        return _unknown(subject, key, model)
    field = model.model_fields.get(key, Settings.model_fields["routes"])
    must = f"must be {_allowed(field)}"
    if error["type"] == "missing":
        return f"{subject} is missing; it {must}."
    if error["type"] == "value_error":
        must = str(error["ctx"]["error"])
    return f"{subject} is {_show(error['input'])}, but {must}."


def _unknown(subject: str, key: str, model: type[BaseModel]) -> str:
    nearest = _nearest(key, model.model_fields)
    subject_nearest = _flag(nearest) if subject.startswith("--") else nearest
    return f"{subject} is not a setting; the nearest is {subject_nearest}."


def _nearest(name: str, known: Mapping[str, object]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _spell(path: tuple[str | int, ...]) -> str:
    spelled = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return spelled.removeprefix(".")


def _show(value: object) -> str:
    """The value as it may be printed: short, and without the password of a URL."""
    shown = re.sub(r"//[^\s\"]*@", "//***@", json.dumps(value, ensure_ascii=False, default=str))
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
