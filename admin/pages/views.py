"""The pages that people look at: what a template is told, for each URL."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple, TypeVar, get_args
from urllib.parse import quote

from admin.errors import NotTold
from admin.model import MessagePlace, Span
from admin.pages.rendering import TemplatePage
from admin.streams.client import LATEST
from gateway.access.credentials import without_token
from gateway.protocol.bodies.content import is_json
from gateway.telemetry.inspection import StreamOrder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from admin.console import Console
    from admin.model import Viewer

C = TypeVar("C", bound=str)
SPANS: dict[Span, str] = {"15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h"}
_SECRET = frozenset({"authorization", "cookie"})
MESSAGES = 50  # on a page without scripts
COLUMNS = (
    ("name", "Name", False),
    ("", "State", False),
    ("", "Type", False),
    ("", "Tail", False),
    ("size", "Size", True),
    ("readers", "Readers", True),
    ("rate", "Rate", True),
    ("", "Expires", False),
)
TABS = {
    "messages": "Messages",
    "readers": "Readers",
    "producers": "Producers",
    "metadata": "Metadata",
}
OPERATOR_TABS = TABS | {"change": "Change"}
DANGERS = (
    ("close", "Close", "Close it: readers come to its end, and nothing can be appended again."),
    ("delete", "Delete", "Delete it, with all that was appended."),
)
DONE = {"append": "Appended.", "close": "The stream is closed.", "delete": "The stream is deleted."}


class Visit(NamedTuple):
    """Who asks for what, and when."""

    console: Console
    query: Mapping[str, str]
    viewer: Viewer
    host: str  # as the browser knows this machine
    now: float
    whole: bool = True  # else the regions alone that are sent again while a page is open


# ---------------------------------------------------------------- pages


async def overview(visit: Visit) -> TemplatePage:
    """The first page."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    told = await visit.console.overview(span)
    return TemplatePage(
        "overview.html",
        {
            "here": "/",
            "instance": told.instance,
            "overview": told,
            "span": span,
            "spans": list(SPANS.items()),
            "span_words": SPANS[span],
        },
    )


async def routes(visit: Visit) -> TemplatePage:
    """A card a route."""
    told = {"routes": await visit.console.routes()}
    return TemplatePage("routes.html", {"here": "/routes", **await frame(visit), **told})


async def streams(visit: Visit) -> TemplatePage:
    """A page of a route's streams; why there are none, when the log does not tell."""
    prefixes = [route.prefix for route in await visit.console.routes()]
    route = visit.query.get("route", prefixes[0])
    order = choice(visit.query.get("order", "name"), get_args(StreamOrder), "order")
    begins, after = visit.query.get("begins", ""), visit.query.get("after", "")
    page, trouble = None, None
    try:
        page = await visit.console.streams(route, begins=begins, order=order, after=after)
    except NotTold as refusal:
        trouble = refusal
    return TemplatePage(
        "streams.html",
        {
            "here": "/streams",
            **await frame(visit),
            "prefixes": prefixes,
            "route": route,
            "order": order,
            "begins": begins,
            "after": after,
            "page": page,
            "trouble": trouble,
            "columns": COLUMNS,
            "done": DONE.get(visit.query.get("done", "")),
            "commands": _first_commands(_address(visit), route),
            "now": visit.now,
        },
    )


async def stream(visit: Visit) -> TemplatePage:
    """A stream, and one tab of what there is to know of it."""
    route, name = visit.query.get("route", ""), visit.query.get("name", "")
    tabs = OPERATOR_TABS if visit.viewer.role == "operator" else TABS
    if visit.query.get("tab") in OPERATOR_TABS.keys() - tabs.keys():
        raise NotTold(403, f"{visit.viewer.name} may look, but not change streams.")
    tab = choice(visit.query.get("tab", "messages"), tuple(tabs), "tab")
    described = await visit.console.stream(route, name)
    told: dict[str, object] = {
        "here": "/streams",
        **await frame(visit),
        "route": route,
        "name": name,
        "described": described,
        "tabs": list(tabs.items()),
        "tab": tab,
        "is_json": is_json(described.row.content_type or ""),
        "dangers": DANGERS,
        "done": DONE.get(visit.query.get("done", "")),
        "refusal": None,
        "content": "",
        "now": visit.now,
    }
    if tab == "messages" and visit.whole:  # the page's script follows them
        told |= await _messages(visit, route, name)
    return TemplatePage("stream.html", told)


async def _messages(visit: Visit, route: str, name: str) -> dict[str, object]:
    offset = visit.query.get("offset", "") or LATEST
    skip = visit.query.get("skip", "0")
    place = MessagePlace(offset, int(skip) if skip.isascii() and skip.isdecimal() else 0)
    told, trouble = None, None
    try:
        told = await visit.console.messages(route, name, place, MESSAGES)
    except NotTold as refusal:
        trouble = refusal
    begin = told.begin.offset if told else "-1" if offset == LATEST else offset
    # A name is percent-encoded where a URL wants it, unless somebody made it up.
    path = quote(f"{route}/{name}", safe="/%:@!$&'()*+,;=~")
    url = f"http://{_address(visit)}{path}?offset={quote(begin, safe='')}"
    return {
        "told": told,
        "trouble": trouble,
        "offset": offset,
        "curl": f"curl -i {shlex.quote(url)}",
    }


async def explain(visit: Visit, headers: str = "") -> TemplatePage:
    """Nothing yet, or the steps on the way of a request for `target`."""
    target = visit.query.get("target", "")
    explanation, trouble = None, None
    if "explained" in visit.query:
        try:
            # A path alone has no host, by which an origin's answers are kept: it is one of here.
            url = f"http://{_address(visit)}{target}" if target.startswith("/") else target
            explanation = await visit.console.explanation(url, _fields(headers))
        except NotTold as refusal:
            trouble = refusal
    return TemplatePage(
        "explain.html",
        {
            "here": "/explain",
            **await frame(visit),
            "target": without_token(target),
            "headers": _without_credentials(headers),
            "explanation": explanation,
            "trouble": trouble,
        },
    )


def _without_credentials(headers: str) -> str:
    """The lines that were entered, as they may be shown again."""
    lines = headers.splitlines(keepends=True)
    return "".join(it for it in lines if it.partition(":")[0].strip().lower() not in _SECRET)


async def configuration(visit: Visit) -> TemplatePage:
    """Every setting, those first that differ from their defaults."""
    settings = visit.console.configuration().settings
    groups = [
        ("Differs from the default", [it for it in settings if it.differs]),
        ("As the default", [it for it in settings if not it.differs]),
    ]
    return TemplatePage(
        "configuration.html", {"here": "/configuration", **await frame(visit), "groups": groups}
    )


async def about(visit: Visit) -> TemplatePage:
    """Versions, file formats, limits."""
    told = visit.console.about()
    groups = [
        ("Versions", told.versions),
        ("File formats", told.formats),
        ("Limits of the process", told.limits),
    ]
    return TemplatePage("about.html", {"here": "/about", **await frame(visit), "groups": groups})


# ---------------------------------------------------------------- parts


async def frame(visit: Visit) -> dict[str, object]:
    """What the frame of every page is told."""
    return {"instance": await visit.console.instance()}


def choice(value: str, choices: Sequence[C], name: str) -> C:
    """Return the value if it is one of these. Raises NotTold."""
    for one in choices:
        if value == one:
            return one
    raise NotTold(400, f"{name} must be one of {', '.join(choices)}.")


def _address(visit: Visit) -> str:
    """Where clients reach the streams: where every interface is listened on, by the same host."""
    host, _, port = visit.console.name.rpartition(":")
    return f"{visit.host}:{port}" if host in {"0.0.0.0", "[::]"} else visit.console.name  # noqa: S104


def _first_commands(address: str, route: str) -> list[tuple[str, str]]:
    """What the README begins with, at this address."""
    url = shlex.quote(f"http://{address}{route}/chat")
    following = shlex.quote(f"http://{address}{route}/chat?offset=-1&live=sse")
    content = "-H 'Content-Type: application/json'"
    return [
        (f"curl -i -X PUT {url} {content}", "the command that creates a stream"),
        (
            f'curl -i -X POST {url} {content} -d \'{{"token": "Hello"}}\'',
            "the command that appends",
        ),
        (f"curl -N {following}", "the command that follows"),
    ]


def _fields(text: str) -> list[tuple[str, str]]:
    """Header lines as names and values. Raises NotTold for a line that is none."""
    fields = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise NotTold(400, f"A header is written Name: value, and not {line[:80]}")
        fields.append((name.strip(), value.strip()))
    return fields
