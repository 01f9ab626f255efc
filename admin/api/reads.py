"""The operations of the JSON API whose modules are loaded when somebody asks for one."""

from __future__ import annotations

from admin.cdn import CdnFile, CdnTargets, Choice, Entered, make_file, told_targets
from admin.console import Console
from admin.operation import operation


class OfCdnFile(Choice, frozen=True, kw_only=True):
    """A target, and what is chosen of its options."""

    target: Entered


@operation("GET", "/api/v1/cdn")
def cdn_targets() -> CdnTargets:
    """Return every CDN and proxy that a configuration can be made for."""
    return told_targets()


@operation("GET", "/api/v1/cdn/file")
async def cdn_file(console: Console, query: OfCdnFile) -> CdnFile:
    """Return a configuration for one of them."""
    return await make_file(console.setup.settings, query.target, query)
