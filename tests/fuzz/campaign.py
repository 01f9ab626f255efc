"""A gateway, what fuzzes it for a while, and the account of it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from tests.edge.gateways import edge, impatient
from tests.fuzz import corpus, header_values
from tests.fuzz.admin_corpus import CSRF, conversation
from tests.fuzz.answers import PROBE, RIGHT, SpoilingOrigin
from tests.fuzz.every_kind import TOKEN, every_kind, provider_of
from tests.fuzz.header_values import admin_headers, stream_headers
from tests.fuzz.talk import Talkers
from tests.fuzz.watch import Resources, Watch
from tests.support.given_settings import at
from tests.support.http1 import ask
from tests.support.origin_servers import own_log
from tests.support.processes import Headgate

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    Kind = Literal["file", "http", "spoilt", "admin", "headers"]

CLIENTS = 12
PHASES = 4
"""At least; the first is the warm-up, and each ends with a rest."""
LONGEST_PHASE_S = 60.0
_SETTINGS = {
    "HEADGATE_LOG__FORMAT": "json",
    "HEADGATE_LIVE__LONG_POLL_TIMEOUT": "1",
    "HEADGATE_HTTP__BODY_TIMEOUT": "2",
    "HEADGATE_HTTP__KEEPALIVE_TIMEOUT": "5",
    "HEADGATE_LIMITS__CACHE_SIZE": "6MiB",
}


@dataclass(slots=True)
class Account:
    """What came of a campaign."""

    kind: Kind
    seed: int
    transcript: Path
    statuses: dict[str, int]
    findings: list[str]
    rests: list[Resources]
    slowest_s: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        memory = " ".join(f"{rest.resident_bytes >> 20}" for rest in self.rests)
        files = " ".join(str(rest.files) for rest in self.rests)
        lines = [
            f"{self.kind}, --seed {self.seed}: {sum(self.statuses.values())} answers ({counts})",
            f"  at rest: MiB {memory}; files {files}; slowest probe {self.slowest_s:.2f} s",
            *(f"  FOUND {line}" for line in self.findings),
        ]
        if self.findings:
            lines.append(f"  the last conversations: {self.transcript}")
        return "\n".join(lines)


async def run(kind: Kind, seconds: float, seed: int, folder: Path) -> Account:
    """Fuzz a gateway of this kind for so long."""
    folder.mkdir(exist_ok=True)
    transcript = folder / f"fuzz-{kind}-{seed}.jsonl"
    async with _gateway(kind, seed) as gateway:
        talkers = await asyncio.to_thread(_talkers, kind, gateway, seed, transcript)
        with Watch(gateway, f"{PROBE}?offset=-1", TOKEN) as watch:
            account = Account(kind, seed, transcript, {}, watch.findings, [])
            end, number = time.monotonic() + seconds, 0
            length = min(seconds / PHASES, LONGEST_PHASE_S)
            while number < 2 or time.monotonic() < end:
                await asyncio.gather(*(it.phase(number, CLIENTS, length) for it in talkers))
                account.rests.append(await asyncio.to_thread(watch.rest))
                number += 1
            watch.compare(account.rests[0], account.rests[-1])
            written = kind != "spoilt"
            await asyncio.to_thread(_ask_again, gateway, watch.findings, is_written=written)
        account.slowest_s = watch.slowest_s
        account.findings += [
            f"logged {count} times: {line}" for line, count in watch.logged.items()
        ]
        for talking in talkers:
            account.findings += talking.findings
            for status, count in talking.statuses.items():
                account.statuses[status] = account.statuses.get(status, 0) + count
        if account.findings:
            talkers[0].write()
    return account


@contextlib.asynccontextmanager
async def _gateway(kind: Kind, seed: int) -> AsyncIterator[Headgate]:
    if kind == "headers":
        async with every_kind(_SETTINGS) as gateway:
            await asyncio.to_thread(_create_probe, gateway)
            yield gateway
    elif kind == "spoilt":
        async with SpoilingOrigin(f"{seed}") as origin:
            with edge(origin.url, impatient(2.0), environment=_SETTINGS) as gateway:
                await asyncio.to_thread(_warm, gateway)
                yield gateway
    else:
        with _before_own_log() if kind == "http" else _kept() as gateway:
            _create_probe(gateway)
            yield gateway


@contextlib.contextmanager
def _kept() -> Iterator[Headgate]:
    with (
        tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as folder,
        contextlib.closing(Headgate(environment=_SETTINGS)) as gateway,
    ):
        origin = f"file:{folder}/streams"
        gateway.serve_routes({"prefix": corpus.PREFIX, **at(origin), "runs": True})
        yield gateway.start()


@contextlib.contextmanager
def _before_own_log() -> Iterator[Headgate]:
    with (
        own_log(long_poll_s=1) as origin,
        edge(origin.url, impatient(2.0), environment=_SETTINGS) as gateway,
    ):
        yield gateway


def _create_probe(gateway: Headgate) -> None:
    created = ask(gateway.port, "PUT", PROBE, RIGHT, content_type="text/plain")
    assert created.status == 201, created


def _talkers(kind: Kind, gateway: Headgate, seed: int, transcript: Path) -> list[Talkers]:
    name = f"{kind}-{seed}"
    if kind == "headers":
        header_values.field_names()  # which takes a moment, and is remembered
        streams = partial(header_values.conversation, stream_headers(provider_of(gateway)))
        admin = partial(header_values.conversation, admin_headers())
        ports = (gateway.port, streams), (gateway.admin_port, admin)
        return [Talkers(port, name, transcript, said, is_whole=True) for port, said in ports]
    port = gateway.admin_port if kind == "admin" else gateway.port
    return [Talkers(port, name, transcript, _conversation(kind, gateway))]


def _conversation(kind: Kind, gateway: Headgate) -> Callable[[random.Random], list[bytes]]:
    if kind != "admin":
        return partial(corpus.conversation, spoilt=kind != "spoilt")
    session = ask(gateway.admin_port, "GET", "/api/v1/session").json()
    token = str(session["csrf"]).encode()

    def with_token(chance: random.Random) -> list[bytes]:
        return [sent.replace(CSRF, token) for sent in conversation(chance)]

    return with_token


def _warm(gateway: Headgate) -> None:
    assert ask(gateway.port, "GET", f"{PROBE}?offset=-1").body == RIGHT


def _ask_again(gateway: Headgate, findings: list[str], *, is_written: bool) -> None:
    """What was never touched is as before, and a new stream can still be written and read."""
    if (found := ask(gateway.port, "GET", f"{PROBE}?offset=-1")).body != RIGHT:
        findings.append(f"an untouched stream has become {found!r}")
    if not is_written:
        return
    path = f"{corpus.PREFIX}/afterwards"
    text = {"content_type": "text/plain"}
    answers = [
        ask(gateway.port, "PUT", path, b"one", **text),
        ask(gateway.port, "POST", path, b"two", **text),
        ask(gateway.port, "GET", f"{path}?offset=-1"),
    ]
    if [one.status for one in answers] != [201, 204, 200] or answers[-1].body != b"onetwo":
        findings.append(f"a new stream is answered with {answers!r}")
