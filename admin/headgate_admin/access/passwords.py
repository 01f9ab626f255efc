"""Checks of passwords, at the same cost for every name."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from headgate_admin.errors import ConsoleError
from headgate_gateway.settings.arrays.access import NO_ARGON2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from headgate_gateway.settings import AdminUser

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

    def begin(self, name: str, password: str) -> Awaitable[AdminUser | None] | None:
        """Begin to check a password; return what gives the user of a right one, else None.

        Return None for a password that nobody can have, which costs no check. Raises ConsoleError
        when as many wait as may.
        """
        user = self._users.get(name)
        of = user or self._dearest
        if of is None or len(password) > LONGEST_PASSWORD:
            return None
        if self._checking >= MOST_AT_ONCE + MOST_WAITING:
            raise ConsoleError(503, "too many sign in at once: try again", {"Retry-After": "1"})
        self._checking += 1
        stored = of.password_hash.reveal()
        loop = asyncio.get_running_loop()
        checking = loop.run_in_executor(self._threads, _checked, user, stored, password)
        checking.add_done_callback(self._ended)
        return checking

    def _ended(self, _: object) -> None:
        self._checking -= 1


def _checked(user: AdminUser | None, stored: str, password: str) -> AdminUser | None:
    """Return the user if the password fits the stored hash. Raises ConsoleError."""
    # At the first sign-in: it is 6 MB.
    from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        Argon2id.verify_phc_encoded(password.encode("utf-8", "replace"), stored)
    except (InvalidKey, MemoryError):  # this machine may have less than the one that made the hash
        return None
    except UnsupportedAlgorithm as cause:
        raise ConsoleError(503, f"no password can be checked: {NO_ARGON2}") from cause
    return user


def _cost(user: AdminUser) -> int:
    """Return the cost of a user's hash: passes over its memory."""
    memory, passes = re.findall(r"[mt]=(\d+)", user.password_hash.reveal())
    return int(passes) * int(memory)
