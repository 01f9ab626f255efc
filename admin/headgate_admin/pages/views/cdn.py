"""The page that makes a configuration for a CDN: a target, its options, and the file."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

import msgspec

from headgate_admin.cdn import LONGEST_CHOICE, Choice, cdn_targets, make_file
from headgate_admin.errors import ConsoleError
from headgate_admin.pages.console_page import ConsolePage
from headgate_admin.pages.limit_form import filled
from headgate_admin.pages.prose import how_to_apply
from headgate_admin.pages.rendering import TemplatePage
from headgate_cdn.explain import HEAD
from headgate_cdn.options import CREDENTIAL_MODES
from headgate_cdn.targets import TARGETS

if TYPE_CHECKING:
    from headgate_admin.cdn import CdnFile, CdnTarget
    from headgate_admin.pages.visit import Visit

PATH = "/caches/cdn"
MODES = {
    "bypass": "bypass: the gateway answers who has credentials",
    "per-credential": "per-credential: each reader has a cache of their own",
    "reader-key": "reader-key: who has a reader key in the URL shares its copies",
    "asked": "asked: who may read, as the gateway says, shares the copies",
    "verified": "verified: who has a read token shares the copies",
}

USUAL = "nginx"
MUST_BE = {
    "listen": "the number of a port",
    "credentials": " or ".join(CREDENTIAL_MODES),
    "remember": "a number of seconds",
    "stale_if_error": "a number of seconds",
    "compress_private": "true or false",
    "purge": "true or false",
    "standalone": "true or false",
}


async def show(visit: Visit) -> TemplatePage:
    """Return the page of a target, with its file once enough was entered."""
    targets = cdn_targets().targets
    target = _target(targets, visit)
    parts = {name for one in targets for name in one.beside}
    whole = [one for one in targets if one.name not in parts]
    entered = {name: visit.query.get(name, "") for name in Choice.__struct_fields__}
    made, trouble = None, None
    try:
        if _is_asked(target, visit):
            made = await chosen_file(visit)
    except ConsoleError as refusal:
        trouble = refusal
    return TemplatePage(
        "cdn.html",
        {
            "groups": [
                ("On your own machines", [one for one in whole if not one.is_elsewhere]),
                ("At a vendor, or in a cluster", [one for one in whole if one.is_elsewhere]),
            ],
            "target": target,
            "modes": [(mode, MODES[mode]) for mode in target.credentials],
            "entered": entered,
            "address": visit.console.name,
            "made": made,
            "trouble": trouble,
            "columns": HEAD,
            "how": await asyncio.to_thread(how_to_apply, TARGETS[target.name].folder),
            "examination": made and _examination(visit, made.digest),
        },
    )


def _examination(visit: Visit, digest: str | None) -> str:
    """Return the command that examines what is deployed, and whether that is the file shown."""
    url = f"https://{visit.query.get('host', '').strip() or 'HOST'}{visit.console.prefixes[0]}"
    compared = f" --digest {digest}" if digest else ""
    return f"headgate doctor cdn {shlex.quote(url)}{compared}"


async def chosen_file(visit: Visit) -> CdnFile:
    """Return the file for what was entered. Raises ConsoleError with what is wrong."""
    target = _target(cdn_targets().targets, visit)
    return await make_file(visit.console.setup.settings, target.name, _choice(visit))


def _target(targets: tuple[CdnTarget, ...], visit: Visit) -> CdnTarget:
    """Return the target that the query names, or the most common one."""
    name = visit.query.get("target", USUAL)
    for target in targets:
        if target.name == name:
            return target
    raise ConsoleError(404, "there is no such target")


def _is_asked(target: CdnTarget, visit: Visit) -> bool:
    """Return whether enough was entered for a file; on a first look nothing is.

    A vendor's machines do not reach the gateway at the address in its settings.
    """
    if target.is_elsewhere and not visit.query.get("upstream"):
        return False
    return "host" in visit.query or not target.needs_host


def _choice(visit: Visit) -> Choice:
    """Return the choice that was entered; an empty field chooses nothing."""
    try:
        return msgspec.convert(filled(visit.query, Choice), Choice, strict=False)
    except msgspec.ValidationError as refusal:
        field = f"{refusal}".rpartition("`$.")[2].rstrip("`")
        rule = MUST_BE.get(field, f"at most {LONGEST_CHOICE} characters")
        raise ConsoleError(400, f"--{field.replace('_', '-')} must be {rule}") from refusal


PAGE = ConsolePage(PATH, show)
