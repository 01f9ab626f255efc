"""The operations of the JSON API on the session of a user."""

from __future__ import annotations

import msgspec
from aiohttp import web

from headgate_admin.access.check import SESSION
from headgate_admin.access.sign_in import SIGN_IN, drop_cookie, set_cookie
from headgate_admin.api.calls import reply
from headgate_admin.model.kinds import Viewer
from headgate_admin.operation import operation


class SignInBody(msgspec.Struct, frozen=True):
    """A name and its password."""

    name: str
    password: str


@operation("GET", "/api/v1/session")
def current(viewer: Viewer) -> Viewer:
    """Return who makes this request."""
    return viewer


@operation("POST", "/api/v1/session", value=Viewer)
async def sign_in(request: web.Request, body: SignInBody) -> web.Response:
    """Sign a user in by a session cookie. Raises ConsoleError for a wrong password."""
    signing = request.app[SIGN_IN]
    token, session = await signing.sign_in(body.name, body.password, request.remote or "")
    response = reply(Viewer(session.name, session.role, session.csrf, signed_in=True))
    set_cookie(response, request, token)
    return response


@operation("DELETE", "/api/v1/session")
async def sign_out(request: web.Request) -> web.Response:
    """End the session, if there is one."""
    session = request.get(SESSION)
    if session is not None:
        request.app[SIGN_IN].sessions.end(session)
    response = web.Response(status=204)
    drop_cookie(response)
    return response
