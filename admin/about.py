"""What runs here: versions, file formats, limits of the process."""

from __future__ import annotations

import platform
import resource
from importlib.metadata import version
from typing import TYPE_CHECKING

from admin.model import About

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.settings import Settings

PACKAGES = (
    "headgate",
    "aiohttp",
    "apsw",
    "argon2-cffi",
    "hiredis",
    "jinja2",
    "msgspec",
    "pydantic",
    "redis",
    "uvloop",
)
_LIMITS = {
    "open files": resource.RLIMIT_NOFILE,
    "address space": resource.RLIMIT_AS,
    "core dump": resource.RLIMIT_CORE,
}


def about(settings: Settings, formats: Mapping[str, str]) -> About:
    """Of this process; the limits of workers are the same."""
    versions = {name: version(name) for name in PACKAGES}
    versions["sqlite"] = versions["apsw"].rpartition(".")[
        0
    ]  # apsw brings it, and is named after it
    versions["python"] = platform.python_version()
    versions["system"] = platform.platform()
    limits = {name: _limit(resource.getrlimit(kind)[0]) for name, kind in _LIMITS.items()}
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limits["connections"] = f"{settings.connection_limit(files):,}"
    limits["workers"] = f"{settings.workers:,}"
    return About(versions, dict(formats), limits)


def _limit(number: int) -> str:
    return "unlimited" if number == resource.RLIM_INFINITY else f"{number:,}"
