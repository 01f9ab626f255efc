"""The page of caches: the steps of a request on its way through that of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_admin.model.streams import ExplainedMethod, RequestToExplain
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage, link
from headgate_admin.pages.visit import choice, streams_url
from headgate_gateway.access.credentials import names_secret, shareable

if TYPE_CHECKING:
    from headgate_admin.pages.visit import Visit

PATH = "/caches"
_PROOFS = frozenset({"cookie", "dpop"})  # besides names that say so themselves
METHODS: tuple[ExplainedMethod, ...] = get_args(ExplainedMethod)
# Characters. Longer ones are cut in chats and mails, or refused on the way.
LONGEST_ADDRESS = 2000


async def show(visit: Visit) -> TemplatePage:
    """Return the empty form, or the steps on the way of the request that the address names.

    From an address with more than a method and a URL, or with what is not shared, the browser is
    sent on to one without: neither its history nor a bookmark has the other then.
    """
    query = visit.query
    method = choice(query.get("method", METHODS[0]), METHODS, "method")
    target = shareable(query.get("target", ""))
    is_safe = query.keys() <= {"method", "target", "left"} and target == query.get("target", "")
    if visit.whole and not (is_safe and len(query) == len({*query})):
        # `left` says that something was left out.
        raise web.HTTPSeeOther(link(PATH, method=method, target=target, left="out"))
    return await _page(visit, method, target)


async def submit(visit: Visit) -> TemplatePage:
    """Send the browser to the address of the explanation, unless that has what is not shared.

    Credentials and header fields stay in the form: the page offers the address without them.
    """
    method = choice(visit.entered.get("method", METHODS[0]), METHODS, "method")
    target = visit.entered.get("target", "").partition("#")[0].strip()
    headers = visit.entered.get("headers", "")
    shared = shareable(target)
    offered = link(PATH, method=method, target=shared)
    if not shared or len(offered) > LONGEST_ADDRESS:
        return await _page(visit, method, target, headers)
    if shared == target and not headers.strip():
        raise web.HTTPSeeOther(offered)
    return await _page(visit, method, target, headers, f"{offered}&left=out")


async def _page(
    visit: Visit, method: ExplainedMethod, target: str, headers: str = "", offered: str = ""
) -> TemplatePage:
    explanation, trouble = None, None
    if target:
        try:
            # An origin's responses are cached by host. A path has none: take this gateway's.
            url = f"{streams_url(visit)}{target}" if target.startswith("/") else target
            request = RequestToExplain(url, _fields(headers), method)
            explanation = await visit.console.explanation(request)
        except ConsoleError as refusal:
            trouble = refusal
    return TemplatePage(
        "explain.html",
        {
            "methods": METHODS,
            "method": method,
            "target": _written(shareable(target)),
            "headers": _without_credentials(headers),
            "offered": offered,
            "is_less": "left" in visit.query and not visit.entered,
            "explanation": explanation,
            "trouble": trouble,
        },
    )


def _written(target: str) -> str:
    """Return a URL in which what hides is percent-encoded: a mark of direction turns it round."""
    return "".join(it if it.isprintable() else quote(it) for it in target)


def _without_credentials(headers: str) -> str:
    """Return the lines that were entered without credentials, to be shown again."""
    lines = headers.splitlines(keepends=True)
    return "".join(it for it in lines if not _is_secret(it.partition(":")[0]))


def _is_secret(name: str) -> bool:
    """Return whether a header field is a credential, or a proof that one is held."""
    return name.strip().lower() in _PROOFS or names_secret(name)


def _fields(text: str) -> tuple[tuple[str, str], ...]:
    """Return header lines as names and values. Raises ConsoleError for a malformed line."""
    fields = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():  # it may be a token alone, and is not shown again
            raise ConsoleError(400, f"header {number} has no colon: write Name: value")
        fields.append((name.strip(), value.strip()))
    return tuple(fields)


MENU = MenuEntry(
    "Caches",
    "M4.5 12.5h7a2.8 2.8 0 0 0 .4-5.6 4 4 0 0 0-7.7-.6 3.1 3.1 0 0 0 .3 6.2z",
    key="a",
    order=60,
)
PAGE = ConsolePage(PATH, show, submit, menu=MENU)
