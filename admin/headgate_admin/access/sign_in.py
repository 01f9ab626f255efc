"""Signing in and out: a name and a password become a session and its cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from headgate_admin.access.attempts import OF_A_NAME, OF_AN_ADDRESS, Attempts
from headgate_admin.access.passwords import Passwords
from headgate_admin.access.sessions import LONGEST_S, Sessions
from headgate_admin.errors import ConsoleError
from headgate_gateway.protocol.http.client_address import counted_as
from headgate_gateway.protocol.http.forwarding import CONSOLE_COOKIE
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_admin.access.sessions import Session
    from headgate_gateway.settings import AdminUser

COOKIE = CONSOLE_COOKIE
LONGEST_NAME = 64
EVENTS = "text/event-stream"  # what a browser asks for, again and again, while a page is open


class SignIn:
    """The sign-in of users by password, with bounds on the attempts of names and addresses."""

    def __init__(self, users: Sequence[AdminUser], clock: Callable[[], float]) -> None:
        self._users = tuple(users)
        self.passwords = Passwords(users)
        self.sessions = Sessions(clock)
        self._of_names = Attempts(OF_A_NAME, clock)
        self._of_addresses = Attempts(OF_AN_ADDRESS, clock)

    def admit(self, users: Sequence[AdminUser]) -> None:
        """Let these users sign in; the sessions of users that are changed or removed end."""
        unchanged = {user.name for user in users if user in self._users}
        self._users = tuple(users)
        self.passwords.admit(users)
        self.sessions.end_all_but(unchanged)

    async def sign_in(self, name: str, password: str, address: str) -> tuple[str, Session]:
        """Return the cookie's value and the session. Raises ConsoleError with 401, 429 or 503."""
        name = name[:LONGEST_NAME]
        network = counted_as(address)
        wait_s = max(self._of_names.wait_s(name), self._of_addresses.wait_s(network))
        if wait_s:
            log.warning("admin.sign_in_refused", reason="too many attempts", client=address)
            raise ConsoleError(
                429, f"too many attempts: try again in {wait_s} s", {"Retry-After": str(wait_s)}
            )
        # What is not checked is not counted: it costs nothing, and tells nobody anything.
        checking = self.passwords.begin(name, password)
        if checking is None:
            raise self._wrong(name, address)
        # Counted before the check ends: those that are made at the same time count, too.
        self._of_names.count(name)
        self._of_addresses.count(network)
        user = await checking
        if user is None:
            raise self._wrong(name, address)
        self._of_names.forget(name)
        self._of_addresses.forget(network)
        log.info("admin.signed_in", name=user.name, client=address)
        return self.sessions.begin(user)

    def _wrong(self, name: str, address: str) -> ConsoleError:
        # A name that nobody has may be a password at the wrong place.
        known_name = name if self.passwords.knows(name) else None
        log.warning("admin.sign_in_refused", reason="wrong", name=known_name, client=address)
        return ConsoleError(401, "the name or the password is wrong")

    def session(self, request: web.Request) -> Session | None:
        """Return the session of a request's cookie, noting its use unless a page only listens."""
        session = self.sessions.find(request.cookies.get(COOKIE, ""))
        if session is not None and not request.headers.get("Accept", "").startswith(EVENTS):
            self.sessions.use(session)
        return session


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
