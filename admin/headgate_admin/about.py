"""The running software: versions, file formats, limits of the process."""

from __future__ import annotations

import os
import platform
import resource
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.settings.log_kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.settings import Settings

PACKAGES = {"aiohttp", "cryptography", "jinja2", "msgspec", "uvloop"}


class About(msgspec.Struct, frozen=True):
    """Versions, file formats, limits of the process."""

    versions: dict[str, str]
    formats: dict[str, str]
    limits: dict[str, str]


def about(settings: Settings, formats: Mapping[str, str]) -> About:
    """Return the versions, formats and limits of this process; workers have the same."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limits = {
        "open files": "unlimited" if files == resource.RLIM_INFINITY else f"{files:,}",
        "connections": f"{settings.limits.connection_limit(files):,}",
        "workers": f"{settings.workers:,}",
    }
    return About(versions(), dict(formats), limits)


@cache  # they are read from files
def versions() -> dict[str, str]:
    """Return the versions of Headgate and of the software it runs on, by name."""
    from importlib.metadata import version  # 2 MB, with zip files and messages of e-mail

    packages = PACKAGES.union(*(kind.libraries for kind in KINDS.values()))
    found = {name: version(name) for name in ("headgate", *sorted(packages))}
    found["sqlite"] = found["apsw"].rpartition(".")[0]  # which apsw brings
    found["python"] = platform.python_version()
    host = os.uname()  # `platform.platform` would start a program
    parts = (host.sysname, host.release, host.machine, *platform.libc_ver())
    found["system"] = " ".join(filter(None, parts))  # the C library has a name only if it is glibc
    return found
