"""Who is signed in: sessions in a bounded table, by the hash of what their cookie says."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.settings.reading.token_hashes import token_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings import AdminUser, Role

IDLE_S = 2 * 3600.0
LONGEST_S = 12 * 3600.0  # a working day: then the password is asked for again
MOST_SESSIONS = 1000  # beyond that the one that was unused for longest ends


@dataclass(slots=True, eq=False)
class Session:
    """Somebody who has signed in. `csrf` goes with each of their changes."""

    key: bytes
    name: str
    role: Role
    csrf: str
    begun_at: float
    used_at: float


class Sessions:
    """Begun by a sign-in; ended by a sign-out, by time, or by too many others."""

    def __init__(self, clock: Callable[[], float], ended: Callable[[Session], None]) -> None:
        """`ended` is called for each session that is over."""
        self._clock = clock
        self._ended = ended
        self._table: OrderedDict[bytes, Session] = OrderedDict()  # the longest unused first

    def begin(self, user: AdminUser) -> tuple[str, Session]:
        """A new session, and what its cookie is to say."""
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
        """The session of a cookie, if it is not over."""
        session = self._table.get(token_digest(token))
        return session if session is not None and self.stands(session) else None

    def stands(self, session: Session) -> bool:
        """Whether a session is not over."""
        now = self._clock()
        if session.key not in self._table:
            return False
        if now - session.used_at >= IDLE_S or now - session.begun_at >= LONGEST_S:
            self.end(session)
            return False
        return True

    def use(self, session: Session) -> None:
        """Somebody does something in a session that stands: it is not idle."""
        session.used_at = self._clock()
        self._table.move_to_end(session.key)

    def end(self, session: Session) -> None:
        """It is over."""
        if self._table.pop(session.key, None) is not None:
            self._ended(session)
