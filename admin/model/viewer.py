"""The user of a page."""

from __future__ import annotations

import msgspec

from admin.model.kinds import Role


class Viewer(msgspec.Struct, frozen=True):
    """The user of a page. `csrf` goes with every change, as a form's field or as X-CSRF-Token.

    `csrf` is empty for a request with a token, since that has no cookie.
    """

    name: str
    role: Role
    csrf: str = ""
    signed_in: bool = False  # by a session, which can be ended

    @property
    def is_operator(self) -> bool:
        """True for who may change something, and see clients' addresses and receivers' URLs."""
        return self.role == "operator"
