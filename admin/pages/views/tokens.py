"""The page of tokens: who has one, what it permits, when it was used; issue and revoke tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import msgspec

from admin.access import audited_tokens
from admin.errors import NotTold
from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage
from admin.pages.visit import choice, frame
from gateway.features.issued_tokens import USUAL_S, TokenRequest
from gateway.features.tokens_file_changes import RevocationEntry, RevocationKind
from gateway.settings.grants import OPERATIONS, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from admin.pages.visit import Visit

PATH = "/tokens"
ALL_OPERATIONS: tuple[Operation, ...] = get_args(Operation)
KINDS = {
    "name": "name: a static token",
    "jti": "jti: one signed token",
    "sub": "sub: all signed tokens of a subject",
    "kid": "kid: all tokens signed by a key",
}


async def show(visit: Visit, **done: object) -> TemplatePage:
    """Return the page; `done` has what the form has just issued or revoked."""
    if not visit.whole:
        return TemplatePage("tokens.html", {"here": PATH, **await frame(visit)})
    text, after = visit.query.get("text", ""), visit.query.get("after", "")
    page, trouble = None, None
    try:
        page = await visit.console.credentials.page(text, after)
    except NotTold as failure:
        trouble = failure
    refusal, _, lines = (visit.refusal or "").partition("\n")
    return TemplatePage(
        "tokens.html",
        {
            "here": PATH,
            **await frame(visit),
            "page": page,
            "trouble": trouble,
            "text": text,
            "after": after,
            "can_change": visit.viewer.role == "operator",
            "operations": ALL_OPERATIONS,
            "kinds": KINDS,
            "usual_s": USUAL_S,
            "entered": dict(visit.entered) or {"op_read": "on", **_prefilled(visit)},
            "refusal": refusal,
            "lines": lines,
            "issued": None,
            "revoked": None,
            "now": visit.now,
            **done,
        },
    )


def _prefilled(visit: Visit) -> dict[str, str]:
    """Return the fields of the revocation that a link to this page has chosen."""
    return {key: visit.query.get(key, "") for key in ("kind", "value")}


async def submit(visit: Visit) -> TemplatePage:
    """Issue or revoke a token. Return the page with the result, which is shown this once."""
    action = choice(visit.entered.get("do", ""), ("issue", "revoke"), "do")
    done = await (_issue(visit) if action == "issue" else _revoke(visit))
    return await show(visit._replace(entered={}), **done)


async def _issue(visit: Visit) -> dict[str, object]:
    entered = visit.entered
    operations = [it for it in ALL_OPERATIONS if entered.get(f"op_{it}") == "on"]
    if not operations:
        raise NotTold(400, f"choose an operation: {', '.join(sorted(OPERATIONS))}")
    lifetime = _number(entered, "lifetime")
    streams, subject = entered.get("streams", ""), entered.get("subject", "")
    request = TokenRequest(subject, streams, operations, lifetime)
    issued, cookie = await audited_tokens.issue(visit.console.credentials, request, visit.viewer)
    return {"issued": issued, "cookie": cookie, "subject": subject, "streams": streams}


async def _revoke(visit: Visit) -> dict[str, object]:
    entered = visit.entered
    kind: RevocationKind = choice(entered.get("kind", ""), get_args(RevocationKind), "kind")
    value = entered.get("value", "")
    # Tokens that are issued in this second count as issued before.
    before = int(visit.now) + 1 if entered.get("only_former") == "on" else None
    entry = RevocationEntry(kind, value, before)
    warnings = await audited_tokens.revoke(visit.console.credentials, entry, visit.viewer)
    return {"revoked": entry, "warnings": warnings}


def _number(entered: Mapping[str, str], name: str) -> int | None:
    """Return a field as a whole number, or None if it is empty. Raises NotTold."""
    text = entered.get(name, "").strip()
    if not text:
        return None
    try:
        return msgspec.convert(text, int, strict=False)
    except msgspec.ValidationError:
        raise NotTold(400, f"{name} must be a whole number of seconds") from None


MENU = MenuEntry(
    "Tokens",
    "M5.5 10.5a3 3 0 1 1 2.6-4.5H14v2.5h-1.5V10h-2V8.5H8.1a3 3 0 0 1-2.6 2zM5 7.4v.2",
    key="t",
    order=100,
)
PAGE = ConsolePage(PATH, show, submit, menu=MENU)
