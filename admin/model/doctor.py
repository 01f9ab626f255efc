"""The examination of a deployment: its wish, its state, its findings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class DoctorFinding(msgspec.Struct, frozen=True):
    """The finding of a doctor's check: sentences without the last full stop.

    `change` is what to do about it; empty where there is nothing to do.
    """

    check: str
    verdict: str  # pass, fail, could not tell, note
    saw: str
    change: str


class DoctorWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deployment to be examined: a host that the settings name, and a route's prefix there.

    Without a route the first is taken. `digest` is the one that the deployed file should have.
    """

    host: Annotated[str, msgspec.Meta(max_length=300)]
    scheme: Literal["https", "http"] = "https"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    route: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    digest: Annotated[str, msgspec.Meta(pattern="^[a-z-]{1,64}/[0-9a-f]{16}$")] | None = None


class DoctorView(msgspec.Struct, frozen=True):
    """The possible examinations, and the last one: its `url` is None before the first.

    `trouble` is why there are no findings; `left` are streams that could not be removed.
    """

    hosts: tuple[str, ...]
    routes: tuple[str, ...]
    url: str | None = None
    by: str = ""
    began_at: float | None = None
    is_running: bool = False
    findings: tuple[DoctorFinding, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    trouble: str = ""
    left: tuple[str, ...] = ()
