"""The operations of the JSON API on the session of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from admin.access.check import SESSION, VIEWER
from admin.access.sign_in import SIGN_IN, drop_cookie, set_cookie
from admin.api.operation import reply
from admin.model.viewer import Viewer

if TYPE_CHECKING:
    from admin.api.values import (
        SignInBody,
    )


async def current(request: web.Request, _query: None, _body: None) -> Viewer:
    """Return who makes this request."""
    return request[VIEWER]


async def sign_in(request: web.Request, _query: None, body: SignInBody) -> web.Response:
    """Sign a user in, and give the session as a cookie. Raises NotTold for a wrong password."""
    signing = request.app[SIGN_IN]
    token, session = await signing.sign_in(body.name, body.password, request.remote or "")
    response = reply(Viewer(session.name, session.role, session.csrf, signed_in=True))
    set_cookie(response, request, token)
    return response


async def sign_out(request: web.Request, _query: None, _body: None) -> web.Response:
    """End the session, if there is one."""
    session = request.get(SESSION)
    if session is not None:
        request.app[SIGN_IN].sessions.end(session)
    response = web.Response(status=204)
    drop_cookie(response)
    return response
