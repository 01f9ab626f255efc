"""The settings of routes to model providers, whose answers become streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from headgate.dialects import NAMES
from headgate_gateway.settings.arrays.repeated import repeated
from headgate_gateway.settings.auth import Auth
from headgate_gateway.settings.reading import files
from headgate_gateway.settings.reading.kinds import (
    ORIGIN_URL,
    Count,
    FilePath,
    Flag,
    Prefix,
    Seconds,
    Size,
    ValueKind,
    WholeSeconds,
    check_urls,
    split_origins,
)
from headgate_gateway.settings.reading.tables import Table, ValueContext, checks, setting
from headgate_gateway.settings.reading.units import DAY_S, GIB, HOUR_S, YEAR_S
from headgate_gateway.settings.reading.values import Converter, Mistake, Mistaken, TextPattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from headgate_gateway.settings.arrays.proxy_route import ProxySettings
    from headgate_gateway.settings.route import Route

    # Tables of routes that write the streams of another one.
    Written: TypeAlias = "ModelSettings | ProxySettings"

W = TypeVar("W", bound="Written")
MODELS_KIND = "an array of tables, each with prefix, upstream, dialect and streams"
LONGEST_KEY = 4096  # characters; the keys of providers have about 200
UPSTREAM_KIND = "http(s)://HOST[:PORT][/PATH] or a list of such URLs"


def _check_upstream(value: object) -> str:
    items = value if isinstance(value, list | tuple) else [value]
    urls = [url.rstrip("/") for url in check_urls(items, UPSTREAM_KIND)]
    if any(url.endswith("/v1") for url in urls):
        raise ValueError(
            "must end before /v1, which comes with each request: clients' base_url has it"
        )
    return ",".join(urls)


Upstream = Annotated[
    str,
    Converter(_check_upstream),
    ValueKind(UPSTREAM_KIND),
    TextPattern(rf"{ORIGIN_URL.pattern}(\s*,\s*https?://[^\s,?#]+)*", is_or_list=True),
]


class ModelSettings(Table):
    """A path prefix with a model provider, and where its answers are stored."""

    prefix: Prefix = setting(
        description="Path of base_url after this server's address, without /v1.",
    )
    upstream: Upstream = setting(
        description="URL of the provider's API, without /v1; of several, the first that can be "
        "reached and does not refuse.",
    )
    dialect: Literal[NAMES] = setting(  # type: ignore[valid-type]
        description="API that the provider speaks: openai has /v1/chat/completions and "
        "/v1/responses, anthropic has /v1/messages, gemini has /v1beta/interactions.",
    )
    streams: Prefix = setting(
        description="Path below which answers are stored, on a route whose storage is file:PATH, "
        "memory: or a Redis.",
    )
    key_file: FilePath = setting(
        "",
        description="File with the provider's key, which other users must not be able to read. "
        "Then clients send a token of this server as api_key; auth may be none only on loopback. "
        "Without it they send their own key to the provider as api_key, and a token of this "
        "server, where auth asks for one, in Headgate-Token.",
    )
    auth: Auth = setting(
        (),
        description="Credentials that callers need. By default the auth of all routes.",
    )
    ttl: WholeSeconds = setting(
        DAY_S,
        ge=60,
        le=YEAR_S,
        description="How long an answer is stored after its last event or read.",
    )
    public: Flag = setting(
        False,
        description="Let shared caches store answers that are read by their URL, as the route of "
        "streams permits. Without it they are private.",
    )
    leave: Literal["stop-unnamed", "stop", "go-on"] = setting(
        "stop-unnamed",
        description="What becomes of an answer that nobody has read for 5 s, neither here nor "
        "live by its URL: stop cancels the call to the provider, go-on lets it go on. stop-unnamed "
        "stops only answers without Idempotency-Key, Headgate-Key-Prefix and Headgate-Stream. "
        "Background responses always go on.",
    )
    read_timeout: Seconds = setting(
        600.0,
        ge=0.1,
        le=HOUR_S,
        description="Longest wait for the provider: for the head of its response, and for each "
        "part that follows.",
    )
    # Answers with images in base64 have some ten MiB.
    max_answer_size: Size = setting(
        256 << 20,
        ge=1,
        le=1024 * GIB,
        description="Longest answer; a longer one ends after its last event that fits, with an "
        "error.",
    )
    # Each takes a connection to the provider and up to 80 KiB.
    max_answers: Count = setting(
        1000,
        ge=1,
        le=100_000,
        description="Most answers that run at once, with those that are not stored.",
    )
    max_client_answers: Count = setting(
        100,
        ge=1,
        le=100_000,
        description="Most answers that run at once for one token or provider key. Keys that the "
        "provider has not accepted yet count for the client's address, with half of max_answers at "
        "most.",
    )
    # Each takes a connection to the provider, and up to 128 KiB of what comes and goes.
    max_passed: Count = setting(
        0,
        ge=0,
        le=100_000,
        description="Most requests that are passed on at once and do not ask for an answer, "
        "such as embeddings, files and polls; 0 means as many as max_answers.",
    )
    max_client_passed: Count = setting(
        0,
        ge=0,
        le=100_000,
        description="Most such requests at once for one token or provider key, counted as for "
        "max_client_answers; 0 means as many as that.",
    )

    @checks("key_file")
    @classmethod
    def _check_key_file(cls, path: str, context: ValueContext) -> str:
        if isinstance(context.look, files.Look):
            provider_key(path)
        return path

    @property
    def upstreams(self) -> tuple[str, ...]:
        """The URLs of the provider's servers, the preferred one first."""
        return split_origins(self.upstream)


def provider_key(path: str) -> str:
    """Return the provider's key in a file; "" for no file. Raises ValueError, without the key."""
    if not path:
        return ""
    key = files.secret_text(path, LONGEST_KEY + 1)
    if not key or len(key) > LONGEST_KEY or not key.isprintable() or " " in key:
        raise ValueError("must be a file with the provider's key on one line, and nothing else")
    return key


def check_beside(
    written: Sequence[W], routes: Sequence[Route], of: str, others: Sequence[Written] = ()
) -> None:
    """Raise Mistaken for prefixes that are taken, and for streams on no route that fits.

    `written` are the tables of the array `of`; `others` are those of another array.
    """
    mistakes = [*repeated(written, "prefix", lambda one: (one.prefix,), of)]
    for index, one in enumerate(written):
        mistakes += [
            Mistake((index, key), "refused", getattr(one, key), f"must {why}")
            for key, why in _why_not_beside(one, routes, others)
        ]
    if mistakes:
        raise Mistaken(mistakes)


def _why_not_beside(
    one: Written, routes: Sequence[Route], others: Sequence[Written]
) -> Iterator[tuple[str, str]]:
    if any(one.prefix == route.prefix for route in (*routes, *others)):
        yield "prefix", "not be the prefix of one of the routes too"
    route = route_of_streams(one, routes)
    if route is None:
        yield "streams", "be the prefix of one of the routes, or below it"
    elif route.log_kind is None:
        yield "streams", f"be on a route to a log of streams, which {route.prefix} is not"
    elif 0 < route.max_ttl < one.ttl:
        yield "ttl", f"be up to max_ttl of {route.prefix}, {route.max_ttl} seconds"


def route_of_streams(one: Written, routes: Sequence[Route]) -> Route | None:
    """Return the route that has the streams of a table's answers, or None."""
    fitting = (it for it in routes if f"{one.streams}/".startswith(f"{it.prefix}/"))
    return max(fitting, key=lambda route: len(route.prefix), default=None)


def private_folders(
    tables: Sequence[Written], routes: Sequence[Route], prefix: str
) -> tuple[str, ...]:
    """Return the beginnings of paths on a route whose responses are for their owners only."""
    own = [it for it in tables if not (isinstance(it, ModelSettings) and it.public)]
    places = [(it.streams, route_of_streams(it, routes)) for it in own]
    return tuple(f"{at}/" for at, on in places if on is not None and on.prefix == prefix)
