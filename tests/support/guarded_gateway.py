"""A gateway whose routes to an own log and to an HTTP origin are guarded, and its users."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.serving import EDGE, PREFIX, edge_serving, get, put, serving
from tests.support.tokens_files import static_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.serving import Serving

ROUTES = (PREFIX, EDGE)
SOON = "2027-01-15T08:01:00Z"  # a minute after the clock of `serving` begins
PAST = "2027-01-15T07:59:59Z"
EVERYTHING = '["read", "append", "create", "close", "delete"]'
CANARY = "canary"


def token(name: str) -> str:
    """Somebody's; whatever has it in it has told too much."""
    return f"{CANARY}-{name}-0123456789abcdef"


def bearer(name: str) -> str:
    """The line of a header."""
    return f"Authorization: Bearer {token(name)}"


def _entry(name: str, streams: str, operations: str, more: str = "") -> str:
    patterns = (f"{prefix}/{streams}" for prefix in ROUTES)
    return static_token(name, token(name), *patterns, operations=operations, more=f"{more}\n")


def tokens_file(folder: Path, *, without: str = "") -> Path:
    """What each may do. `without` somebody it is as if that one was never there."""
    entries = {
        "ann": _entry("ann", "a/*", '["read"]'),
        "ben": _entry("ben", "b/*", '["read"]'),
        "writer": _entry("writer", "*", '["append", "create", "close", "delete"]'),
        "maker": _entry("maker", "a/*", '["create"]'),
        "closer": _entry("closer", "a/*", '["close"]'),
        "all": _entry("all", "*", EVERYTHING),
        "late": _entry("late", "*", EVERYTHING, f"expires = {SOON}"),
        "gone": _entry("gone", "*", EVERYTHING, f"expires = {PAST}"),
    }
    path = folder / "tokens.toml"
    new = folder / "tokens.new"
    new.write_text("\n".join(text for name, text in entries.items() if name != without))
    new.replace(path)
    return path


@contextlib.asynccontextmanager
async def guarded(
    folder: Path, route: Mapping[str, object] | None = None, **options: object
) -> AsyncIterator[Serving]:
    """The gateway. Its HTTP origin is another one, which asks nobody; both have `a/s` and `b/s`."""
    path = tokens_file(folder)
    settings = {"auth": "tokens", **(route or {})}
    async with serving(write_origins=("*",)) as origin:  # it leaves that to the one in front
        given: dict[str, object] = {"own": settings, "tokens_file": str(path), **options}
        async with edge_serving(origin, settings, **given) as gateway:
            for prefix in ROUTES:
                for name in ("a/s", "b/s"):
                    made = await gateway.ask(put(f"{prefix}/{name}", bearer("all"), body=b"data"))
                    assert made.status == 201, made
            yield gateway


async def revoke(gateway: Serving, folder: Path, name: str) -> None:
    """Take somebody's token out of the file, and wait until that is known."""
    tokens_file(folder, without=name)
    await look_at_files(gateway)


async def end_token(gateway: Serving, folder: Path, how: str) -> None:
    """End the token of `late`: it is revoked, or else expires."""
    if how == "revoked":
        await revoke(gateway, folder, "late")
    else:
        gateway.clock.advance(60.0)


async def look_at_files(gateway: Serving) -> None:
    """Have changed files read at once, which otherwise only a timer does; two looks trust them."""
    for file in gateway.authorities._files:
        await file.look()
        await file.look()


async def reach_tail(gateway: Serving, target: str, name: str) -> str:
    """The offset at which a stream ends, as somebody is told."""
    answer = await gateway.ask(get(f"{target}?offset=-1", bearer(name)))
    assert answer.status == 200, answer
    return answer.next_offset
