"""Sessions of signed-in users, in a bounded table by the hash of their cookie's value."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_gateway.settings.reading.token_hashes import token_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from headgate_gateway.settings import AdminUser, Role

IDLE_S = 2 * 3600.0
LONGEST_S = 12 * 3600.0  # a working day: then the password is asked for again
MOST_SESSIONS = 1000  # beyond that the one that was unused for longest ends


@dataclass(slots=True, eq=False)
class Session:
    """A session of a signed-in user. `csrf` goes with each of the user's changes."""

    key: bytes
    name: str
    role: Role
    csrf: str
    begun_at: float
    used_at: float


class Sessions:
    """Begun by a sign-in; ended by a sign-out, by time, or by too many others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._table: OrderedDict[bytes, Session] = OrderedDict()  # the longest unused first

    def begin(self, user: AdminUser) -> tuple[str, Session]:
        """Begin a session; return the value of its cookie, and the session."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        session = Session(
            token_digest(token), user.name, user.role, secrets.token_urlsafe(32), now, now
        )
        self._table[session.key] = session
        while len(self._table) > MOST_SESSIONS:
            self.end(next(iter(self._table.values())))
        return token, session

    def find(self, token: str) -> Session | None:
        """Return the session of a cookie, or None if it is over."""
        session = self._table.get(token_digest(token))
        return session if session is not None and self.stands(session) else None

    def stands(self, session: Session) -> bool:
        """Return whether a session is not over."""
        now = self._clock()
        if session.key not in self._table:
            return False
        if now - session.used_at >= IDLE_S or now - session.begun_at >= LONGEST_S:
            self.end(session)
            return False
        return True

    def use(self, session: Session) -> None:
        """Note that a session was used: it is not idle."""
        session.used_at = self._clock()
        self._table.move_to_end(session.key)

    def end_all_but(self, names: Collection[str]) -> None:
        """End the sessions of all users but these."""
        for session in [one for one in self._table.values() if one.name not in names]:
            self.end(session)

    def end(self, session: Session) -> None:
        """End a session."""
        self._table.pop(session.key, None)
