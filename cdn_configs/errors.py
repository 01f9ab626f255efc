"""Reasons why a configuration is not made."""

from __future__ import annotations

from gateway.errors import HeadgateError


class Refused(HeadgateError):
    """No right configuration can be made of these options for this target."""


class UnknownTarget(Refused):
    """There is no target of this name; the detail lists those that there are."""
