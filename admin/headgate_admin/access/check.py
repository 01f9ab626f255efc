"""Authorisation of every request to the admin listener: a middleware with a table of rights."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Literal, NoReturn
from urllib.parse import quote

from aiohttp import web

from headgate_admin.access.sessions import Session
from headgate_admin.bodies import FORM, fields
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import Viewer
from headgate_gateway.access.credentials import READING, shareable
from headgate_gateway.settings import is_loopback
from headgate_gateway.settings.reading.token_hashes import token_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler

    from headgate_admin.access.sign_in import SignIn
    from headgate_gateway.settings import AdminToken

Need = Literal["nothing", "viewer", "operator"]

SIGN_IN, EXPLAIN = "/sign-in", "/caches"
# For all others, reading needs a viewer and changing an operator.
NEEDS: dict[tuple[str, str], Need] = {
    ("GET", "/healthz"): "nothing",
    ("GET", "/readyz"): "nothing",
    ("GET", "/sign-in"): "nothing",
    ("POST", "/sign-in"): "nothing",
    ("GET", "/static/{name}"): "nothing",
    ("GET", "/alerts"): "nothing",  # a page of the package, without data of this gateway
    ("POST", "/api/v1/session"): "nothing",
    ("DELETE", "/api/v1/session"): "viewer",
    ("POST", "/sign-out"): "viewer",
    ("POST", EXPLAIN): "viewer",
    ("POST", "/api/v1/explain"): "viewer",
}
PROBES = frozenset({"/healthz", "/readyz"})
FIELD, HEADER = "csrf", "X-CSRF-Token"
# While nobody has to sign in, a page of another host must not pass for this one (DNS rebinding).
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d{1,5})?")

VIEWER: web.RequestKey[Viewer] = web.RequestKey("viewer", Viewer)
SESSION: web.RequestKey[Session] = web.RequestKey("session", Session)


class Access:
    """The check by a session's cookie, by a token, or by open access from this machine."""

    def __init__(self, sign_in: SignIn, tokens: Sequence[AdminToken], *, is_open: bool) -> None:
        """Treat every local client as an operator if `is_open`, as without any credentials."""
        self._sign_in = sign_in
        self._everybody = Viewer("an unnamed operator", "operator", secrets.token_urlsafe(32))
        self.admit(tokens, is_open=is_open)

    def admit(self, tokens: Sequence[AdminToken], *, is_open: bool) -> None:
        """Admit these tokens from now on, or every local client if `is_open`."""
        self._tokens = {token.digest: token for token in tokens}
        self._is_open = is_open

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Call the handler if the viewer may do so; else raise ConsoleError or ask to sign in."""
        if self._is_open and _resource(request) not in PROBES:
            _check_host(request)
        if request.match_info.http_exception is None:  # else no handler is found
            viewer = self._viewer(request)
            if viewer is not None:
                request[VIEWER] = viewer
            await _check_change(request, viewer)
            _check_need(request, viewer)
        return await handler(request)

    def _viewer(self, request: web.Request) -> Viewer | None:
        if self._is_open:
            return self._everybody
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            return self._with_token(request, authorization)
        session = self._sign_in.session(request)
        if session is None:
            return None
        request[SESSION] = session
        return Viewer(session.name, session.role, session.csrf, signed_in=True)

    def _with_token(self, request: web.Request, authorization: str) -> Viewer | None:
        """Return the viewer of `Bearer TOKEN`, or of `Basic NAME:TOKEN`, else None.

        Basic may only read: browsers repeat it by themselves.
        """
        scheme, _, value = authorization.partition(" ")
        name = None
        if scheme.lower() == "basic" and request.method in READING:
            try:
                decoded = base64.b64decode(value, validate=True).decode()
            except ValueError:  # neither ASCII, nor base64, nor UTF-8
                return None
            name, _, value = decoded.partition(":")
        elif scheme.lower() != "bearer":
            return None
        token = self._tokens.get(token_digest(value.strip()))
        if token is None or name not in {None, token.name}:
            return None
        return Viewer(token.name, token.role)


def needed(request: web.Request) -> Need:
    """Return the right that a request needs, by its method and the path of its route."""
    method = "GET" if request.method == "HEAD" else request.method
    need = NEEDS.get((method, _resource(request)))
    if need is not None:
        return need
    return "viewer" if method in READING else "operator"


def _resource(request: web.Request) -> str:
    """Return a request's path as the route table has it."""
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def is_local(host: str) -> bool:
    """Return whether a Host header names this machine."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["ipv6"] or match["name"])


def _check_host(request: web.Request) -> None:
    if not is_local(request.headers.get("Host", "")):
        raise ConsoleError(421, "this console is for this machine: ask for it as localhost")


def _check_need(request: web.Request, viewer: Viewer | None) -> None:
    """Raise ConsoleError, or redirect to the sign-in, if the viewer lacks the right."""
    need = needed(request)
    if need != "nothing" and viewer is None:
        _send_to_sign_in(request)
    if need == "operator" and viewer is not None and not viewer.is_operator:
        raise ConsoleError(403, f"{viewer.name} may look, but not change anything")


def _send_to_sign_in(request: web.Request) -> NoReturn:
    """Redirect a browser that wants a page to the sign-in; raise ConsoleError (401) for others."""
    wants_page = "text/html" in request.headers.get("Accept", "")
    if wants_page and request.method in READING and not request.path.startswith("/api/"):
        there = request.raw_path
        # In the address of an explanation somebody may have pasted a URL with credentials.
        if request.path == EXPLAIN and any(
            it != shareable(it) for it in (there, *request.query.values())
        ):
            there = EXPLAIN
        raise web.HTTPSeeOther(f"{SIGN_IN}?next={quote(there, safe='/')}")
    raise ConsoleError(
        401, "sign in, or send a token as Authorization: Bearer", {"WWW-Authenticate": "Bearer"}
    )


async def _check_change(request: web.Request, viewer: Viewer | None) -> None:
    """Refuse a change that a page of another site may have made a browser send."""
    if request.method in READING:
        return
    _check_site(request)
    if viewer is None or not viewer.csrf or needed(request) == "nothing":
        return
    text = request.headers.get(HEADER)
    if text is None and request.content_type == FORM:
        text = (await fields(request)).get(FIELD)
    token = None if text is None else text.encode("utf-8", "surrogateescape")
    if token is None or not hmac.compare_digest(token, viewer.csrf.encode()):
        raise ConsoleError(
            403,
            f"the change came without its {HEADER}: load the page again, or read GET "
            "/api/v1/session; a script sends one of admin.tokens, which needs none",
        )


def _check_site(request: web.Request) -> None:
    """Refuse a request whose Origin field names another site."""
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
        raise ConsoleError(403, "changes are made from this console's own pages")
