"""Checks of passwords, at the same cost for every name."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from admin.errors import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings import AdminUser

# One check takes some 50 ms of a core and 64 MiB.
MOST_AT_ONCE = 2
MOST_WAITING = 16  # about half a second of waiting
LONGEST_PASSWORD = 1024  # characters


class Passwords:
    """The users, who may be none."""

    def __init__(self, users: Sequence[AdminUser]) -> None:
        self.admit(users)
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, "password")
        self._checking = 0

    def admit(self, users: Sequence[AdminUser]) -> None:
        """Check the passwords of these users from now on."""
        self._users = {user.name: user for user in users}
        # Checked for a name that nobody has, so that no user's name takes longer than one.
        self._dearest = max(users, key=_cost, default=None)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def knows(self, name: str) -> bool:
        """Return whether a user has this name."""
        return name in self._users

    def may_be_right(self, password: str) -> bool:
        """Return whether the password is possible; an impossible one costs no check."""
        return self._dearest is not None and len(password) <= LONGEST_PASSWORD

    def check_room(self) -> None:
        """Raise ConsoleError when as many wait as may."""
        if self._checking >= MOST_AT_ONCE + MOST_WAITING:
            raise ConsoleError(503, "too many sign in at once: try again", {"Retry-After": "1"})

    async def check(self, name: str, password: str) -> AdminUser | None:
        """Return the user of a right password, else None. Raises ConsoleError if too many wait."""
        user = self._users.get(name)
        of = user or self._dearest
        if of is None or not self.may_be_right(password):
            return None
        self.check_room()
        stored = of.password_hash.reveal()
        self._checking += 1
        try:
            loop = asyncio.get_running_loop()
            fits = await loop.run_in_executor(self._threads, self._fits, stored, password)
        finally:
            self._checking -= 1
        return user if fits else None

    def _fits(self, stored: str, password: str) -> bool:
        from argon2 import PasswordHasher
        from argon2.exceptions import VerificationError

        try:
            return PasswordHasher().verify(stored, password.encode("utf-8", "replace"))
        except VerificationError:
            return False


def _cost(user: AdminUser) -> int:
    """Return the cost of a user's hash: passes over its memory."""
    # At the start, and only where there are users: it is another megabyte.
    from argon2 import extract_parameters

    parameters = extract_parameters(user.password_hash.reveal())
    return parameters.time_cost * parameters.memory_cost
