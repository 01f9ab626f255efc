"""The configurations for CDNs: the targets, and the file that a choice of options makes."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Annotated

import msgspec

from headgate_admin.console import Console
from headgate_admin.errors import ConsoleError
from headgate_admin.operation import operation
from headgate_cdn import targets
from headgate_cdn.errors import Refused, UnknownTarget
from headgate_cdn.explain import HEAD, bounds, compared, exclusions
from headgate_cdn.options import CredentialMode, from_settings
from headgate_cdn.render import digest_of, render
from headgate_cdn.target import Target
from headgate_gateway.settings.reached import console_url
from headgate_gateway.settings.reading.kinds import parse_size

if TYPE_CHECKING:
    from headgate_cdn.options import Options
    from headgate_gateway.settings import Settings

LONGEST_CHOICE = 300  # characters: a host name has 253 at most
Entered = Annotated[str, msgspec.Meta(max_length=LONGEST_CHOICE)]


class Choice(msgspec.Struct, frozen=True):
    """A choice of options; None stands for what the settings say, or for the default."""

    upstream: Entered | None = None  # HOST:PORT
    upstream_ca: Entered | None = None  # file, on the machine of the target
    upstream_name: Entered | None = None
    host: Entered | None = None
    listen: int | None = None
    credentials: CredentialMode | None = None
    remember: int | None = None  # seconds
    stale_if_error: int | None = None  # seconds
    cache_size: Entered | None = None  # such as 1GiB
    compress_private: bool = False
    shield: Entered | None = None  # a place of the vendor's
    purge: bool = False
    standalone: bool = False

    @property
    def chosen(self) -> dict[str, object]:
        """The values that were chosen, by option."""
        values = {name: getattr(self, name) for name in Choice.__struct_fields__}
        return {
            name: value
            for name, value in values.items()
            # 0 is a choice: of a port, which is refused, or of remembering nothing.
            if value is not None and value is not False
        }


class OfCdnFile(Choice, frozen=True, kw_only=True):
    """A target, and what is chosen of its options."""

    target: Entered


class CdnTarget(msgspec.Struct, frozen=True):
    """A kind of CDN or proxy that a configuration can be made for. Sentences are for people."""

    name: str
    title: str
    file_name: str
    does: tuple[str, ...]
    does_not: tuple[str, ...]
    limits: tuple[str, ...]  # that its users have to know, with their reasons
    exclusions: tuple[str, ...]  # the other limits of its options
    compared: dict[str, str]  # its differences from the others, in a few words each
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


# The fields that a target has under the same name.
_SAME = frozenset(CdnTarget.__struct_fields__) & frozenset(Target.__struct_fields__) - {"shield"}


@operation("GET", "/api/v1/cdn")
def cdn_targets() -> CdnTargets:
    """Return every CDN and proxy that a configuration can be made for."""
    return CdnTargets(tuple(map(_cdn_target_of, targets.TARGETS.values())))


def _cdn_target_of(target: Target) -> CdnTarget:
    return CdnTarget(
        **{name: getattr(target, name) for name in _SAME},
        limits=tuple(bounds(target)),
        exclusions=tuple(exclusions(target)),
        compared=dict(zip(HEAD, compared(target), strict=True)),
        can_be_purged=not target.no_purge,
        can_serve_stale=not target.no_stale_if_error,
        shield=target.shield_words,
        can_trust_any_authority=not (target.no_https or target.no_upstream_ca),
    )


@operation("GET", "/api/v1/cdn/file")
async def cdn_file(console: Console, query: OfCdnFile) -> CdnFile:
    """Return a configuration for one of them."""
    return await make_file(console.setup.settings, query.target, query)


async def make_file(settings: Settings, name: str, choice: Choice) -> CdnFile:
    """Return the file for a target. Raises ConsoleError with one sentence if there is none.

    A template takes some milliseconds to compile, in which the loop serves others.
    """
    return await asyncio.to_thread(_file, settings, name, choice)


def _file(settings: Settings, name: str, choice: Choice) -> CdnFile:
    try:
        target = targets.target(name)
        text = render(target, _options(settings, choice))
    except UnknownTarget as refusal:
        raise ConsoleError(404, refusal.detail) from refusal
    except Refused as refusal:
        raise ConsoleError(400, refusal.detail) from refusal
    command = _command(target, choice, settings)
    return CdnFile(target.name, target.file_name, text, command, digest_of(target, text))


def _options(settings: Settings, choice: Choice) -> Options:
    options = choice.chosen
    options["remember_s"] = options.pop("remember", None)
    options["stale_if_error_s"] = options.pop("stale_if_error", None)
    try:
        options["cache_size"] = parse_size(choice.cache_size)
    except ValueError as refusal:
        raise ConsoleError(400, f"--cache-size {refusal}") from refusal
    return from_settings(settings, **options)


def _command(target: Target, choice: Choice, settings: Settings) -> str:
    """Return the command that makes the same file from the same settings, or asks for it here."""
    by = (
        ["--config", settings.file]
        if settings.file
        else ["--admin", console_url(settings).rstrip("/")]
    )
    words = ["headgate", "cdn", "render", target.name, *by]
    for key, value in choice.chosen.items():
        words.append("--" + key.replace("_", "-"))
        if value is not True:
            words.append(str(value))
    return shlex.join([*words, "-o", target.file_name])
