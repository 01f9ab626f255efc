"""The page of caches: the steps of a request on its way through that of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from headgate_admin.errors import ConsoleError
from headgate_admin.model.streams import RequestToExplain
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage
from headgate_admin.pages.visit import streams_url
from headgate_gateway.access.credentials import without_token

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/caches"
_SECRET = frozenset({"authorization", "cookie"})


async def show(visit: Visit) -> TemplatePage:
    """Return the empty form, or the steps on the way of a request for `target`."""
    target, headers = visit.query.get("target", ""), visit.entered.get("headers", "")
    explanation, trouble = None, None
    if "explained" in visit.query:
        try:
            # An origin's responses are cached by host. A path has none: take this gateway's.
            url = f"{streams_url(visit)}{target}" if target.startswith("/") else target
            explanation = await visit.console.explanation(RequestToExplain(url, _fields(headers)))
        except ConsoleError as refusal:
            trouble = refusal
    return TemplatePage(
        "explain.html",
        {
            "target": _written(without_token(target)),
            "headers": _without_credentials(headers),
            "explanation": explanation,
            "trouble": trouble,
        },
    )


async def submit(visit: Visit) -> TemplatePage:
    """Return the page with the explanation; header fields that were entered get into no URL."""
    query = {"target": visit.entered.get("target", ""), "explained": "yes"}
    return await show(visit._replace(query=query))


def _written(target: str) -> str:
    """Return a URL in which what hides is percent-encoded: a mark of direction turns it round."""
    return "".join(it if it.isprintable() else quote(it) for it in target)


def _without_credentials(headers: str) -> str:
    """Return the lines that were entered without credentials, to be shown again."""
    lines = headers.splitlines(keepends=True)
    return "".join(it for it in lines if it.partition(":")[0].strip().lower() not in _SECRET)


def _fields(text: str) -> tuple[tuple[str, str], ...]:
    """Return header lines as names and values. Raises ConsoleError for a malformed line."""
    fields = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ConsoleError(400, f"A header is written Name: value, and not {line[:80]}")
        fields.append((name.strip(), value.strip()))
    return tuple(fields)


MENU = MenuEntry(
    "Caches",
    "M4.5 12.5h7a2.8 2.8 0 0 0 .4-5.6 4 4 0 0 0-7.7-.6 3.1 3.1 0 0 0 .3 6.2z",
    key="a",
    order=60,
)
PAGE = ConsolePage(PATH, show, submit, menu=MENU)
