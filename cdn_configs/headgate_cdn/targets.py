"""The targets: every configuration that can be made, each declared in its vendor's folder."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

import headgate_cdn
from headgate_cdn.errors import UnknownTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.target import Target


def _declared() -> Iterator[Target]:
    """Yield the `TARGETS` of all packages in this one."""
    for found in pkgutil.iter_modules(headgate_cdn.__path__, "headgate_cdn."):
        if found.ispkg:
            yield from import_module(found.name).TARGETS


TARGETS: dict[str, Target] = {one.name: one for one in _declared()}
# What needs a few commands and no file, and the page that has them.
ON_A_PAGE = dict.fromkeys(("aws-alb", "google-load-balancer"), "docs/cdn/cloud-load-balancers.md")


def target(name: str) -> Target:
    """Return the target of this name; raise UnknownTarget, which lists them all, without one."""
    if name in ON_A_PAGE:
        raise UnknownTarget(f"{name} needs no file: {ON_A_PAGE[name]} has the commands to copy")
    if name not in TARGETS:
        from difflib import get_close_matches  # imported only for a mistake

        nearest = get_close_matches(name[:64], TARGETS, n=1)
        meant = f"; the nearest is {nearest[0]}" if nearest else ""
        raise UnknownTarget(f"there is no target {ascii(name)[:64]}{meant}: {', '.join(TARGETS)}")
    return TARGETS[name]
