"""The CDNs and proxies that a configuration can be made for."""

from __future__ import annotations

import msgspec


class CdnTarget(msgspec.Struct, frozen=True):
    """A kind of CDN or proxy that a configuration can be made for. Sentences are for people."""

    name: str
    title: str
    file_name: str
    does: tuple[str, ...]
    does_not: tuple[str, ...]
    limits: tuple[str, ...]  # that whoever takes it has to know, with their reasons
    exclusions: tuple[str, ...]  # the other limits of its options, for whoever looks for one
    compared: dict[str, str]  # in a few words each, what tells it from the others
    state: str  # how far its configuration was put to the test
    checked: str  # how its configuration is tested
    credentials: tuple[str, ...]  # the modes that it can keep
    needs_host: bool  # unless the file is standalone
    can_stand_alone: bool  # as a whole file, which runs as any user
    is_elsewhere: bool  # at a vendor, who has to reach the gateway by the internet
    can_be_purged: bool
    can_serve_stale: bool  # while the gateway is away
    can_trust_any_authority: bool  # and verify another name than that of the upstream
    shield: str  # what names a place there that asks for all others; empty where there is none
    beside: tuple[str, ...]  # targets whose files must lie beside this one


class CdnTargets(msgspec.Struct, frozen=True):
    """Every target."""

    targets: tuple[CdnTarget, ...]


class CdnFile(msgspec.Struct, frozen=True):
    """A configuration, and the command that makes the same."""

    target: str
    file_name: str
    text: str
    command: str
    digest: str | None = None  # which its answers have; None where it answers nothing itself
