"""Reasons why a configuration is not made."""

from __future__ import annotations


class Refused(Exception):
    """No right configuration can be made of these options for this target; `detail` says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnknownTarget(Refused):
    """There is no target of this name; the detail lists those that there are."""
