"""Signing in and out: a name and a password become a session and its cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from admin.access.attempts import OF_A_NAME, OF_AN_ADDRESS, Attempts
from admin.access.passwords import Passwords
from admin.access.sessions import LONGEST_S, Sessions
from admin.errors import NotTold
from gateway.protocol.forwarding import CONSOLE_COOKIE
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from admin.access.sessions import Session
    from gateway.settings import AdminUser

COOKIE = CONSOLE_COOKIE
LONGEST_NAME = 64


class SignIn:
    """Checks passwords within what names and addresses may try."""

    def __init__(
        self,
        users: Sequence[AdminUser],
        clock: Callable[[], float],
        ended: Callable[[Session], None],
    ) -> None:
        """`ended` is called for each session that is over."""
        self.passwords = Passwords(users)
        self.sessions = Sessions(clock, ended)
        self._of_names = Attempts(OF_A_NAME, clock)
        self._of_addresses = Attempts(OF_AN_ADDRESS, clock)

    async def sign_in(self, name: str, password: str, address: str) -> tuple[str, Session]:
        """What the cookie is to say, and the session. Raises NotTold with 401, 429 or 503."""
        name = name[:LONGEST_NAME]
        wait_s = max(self._of_names.wait_s(name), self._of_addresses.wait_s(address))
        if wait_s:
            log.warning("admin.sign_in_refused", reason="too many attempts", client=address)
            raise NotTold(
                429, f"too many attempts: try again in {wait_s} s", {"Retry-After": str(wait_s)}
            )
        # Counted before the check: those that are made at the same time count, too.
        self._of_names.count(name)
        self._of_addresses.count(address)
        user = await self.passwords.check(name, password)
        if user is None:
            # A name that nobody has may be a password at the wrong place.
            shown = name if self.passwords.knows(name) else None
            log.warning("admin.sign_in_refused", reason="wrong", name=shown, client=address)
            raise NotTold(401, "the name or the password is wrong")
        self._of_names.forget(name)
        self._of_addresses.forget(address)
        log.info("admin.signed_in", name=user.name, client=address)
        return self.sessions.begin(user)

    def session(self, request: web.Request) -> Session | None:
        """The session of a request's cookie."""
        token = request.cookies.get(COOKIE)
        return None if token is None else self.sessions.find(token)


def set_cookie(response: web.StreamResponse, request: web.Request, token: str) -> None:
    """Give the browser its session.

    Who claims in X-Forwarded-Proto to have come by TLS without having done so gets a cookie that
    their browser does not send: so anybody may be believed.
    """
    forwarded = request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(LONGEST_S),
        path="/",
        secure=request.secure or forwarded,
        httponly=True,
        samesite="Strict",
    )


def drop_cookie(response: web.StreamResponse) -> None:
    """Take it back."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")


SIGN_IN: web.AppKey[SignIn] = web.AppKey("sign_in", SignIn)
