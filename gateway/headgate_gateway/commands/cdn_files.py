"""The files of `headgate cdn render`: made from settings, or by a running gateway from its own."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_cdn.options import Options
    from headgate_cdn.target import Target
    from headgate_gateway.settings import Settings
    from headgate_gateway.tools.server.target import StreamTarget

GIVE_SETTINGS = (
    "give the gateway's settings by --config FILE, or have the gateway itself make the file by "
    "--admin URL"
)


class _MadeFile(msgspec.Struct):
    """The answer of `api/v1/cdn/file`, as far as it is used here."""

    text: str


def files_of_settings(
    settings: Settings, targets: Sequence[Target], chosen: Mapping[str, object], *, is_named: bool
) -> tuple[dict[str, str], Options]:
    """Return the files of targets by name, and the options that they are made for.

    Settings that are not named are the defaults and the environment's. Raises Refused, also if an
    option is for other routes or readers than these.
    """
    from headgate_cdn import options, render

    if not is_named:
        _check_readers(settings, chosen)
    made = options.from_settings(settings, **{**chosen, "cache_size": _size(chosen["cache_size"])})
    return {one.file_name: render.render(one, made) for one in targets}, made


def _check_readers(settings: Settings, chosen: Mapping[str, object]) -> None:
    """Raise Refused if an option is for other routes or readers than the default settings have."""
    from headgate_cdn.errors import Refused
    from headgate_cdn.options import settled
    from headgate_cdn.upstreams import why_alone

    upstream = str(chosen["upstream"] or "")
    if "," in upstream and (log := why_alone(settings.route_table)):
        raise Refused(
            f"several gateways in --upstream cannot share {log}, and no --config was given: "
            f"{GIVE_SETTINGS}"
        )
    mode = chosen["credentials"] or "bypass"
    shown = [f"--credentials {mode}"] if mode != "bypass" else []
    shown += ["--compress-private"] if chosen["compress_private"] else []
    signs_in = any(map(settings.auth_of, settings.guarded)) or settled(settings, mode)["told_apart"]
    if shown and not signs_in:
        raise Refused(
            f"{shown[0]} is for readers who sign in, and nobody does by the settings, as no "
            f"--config was given: {GIVE_SETTINGS}"
        )


def _size(value: object) -> object:
    """Return a size in the form of the settings, in bytes."""
    from headgate_cdn.errors import Refused
    from headgate_gateway.settings.reading.kinds import parse_size

    try:
        return parse_size(value)
    except ValueError as cause:
        raise Refused(f"--cache-size {cause}") from cause


async def files_of_gateway(
    gateway: StreamTarget, targets: Sequence[Target], chosen: Mapping[str, object]
) -> dict[str, str]:
    """Return the files of targets by name, as the gateway makes them for its settings in force.

    Raises Refused if it makes none of these options.
    """
    from headgate.errors import StreamError
    from headgate_cdn.errors import Refused
    from headgate_gateway.tools.server.admin_requests import admin_value
    from headgate_gateway.tools.server.client import connect

    query = {
        name.removesuffix("_s"): "true" if value is True else str(value)
        for name, value in chosen.items()
        if value is not None
    }
    files = {}
    async with connect(gateway) as admin:
        for one in targets:
            asked = {**query, "target": one.name}
            try:
                made = await admin_value(admin, "api/v1/cdn/file", asked, _MadeFile)
            except StreamError as refusal:
                if refusal.status != HTTPStatus.BAD_REQUEST:
                    raise
                raise Refused(refusal.reason) from refusal
            files[one.file_name] = made.text
    return files
