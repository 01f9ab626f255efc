"""A local double of a cache's purge interface: it remembers calls, and answers as it is told to."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from tests.support.raw_origin import RawOrigin, Wire, answer

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW_S = 1_795_467_600.0  # 2026-11-23 21:00:00 UTC
SUCCESS = b'{"success": true, "errors": [], "messages": [], "result": {"id": "z"}}'

_secrets = TemporaryDirectory()  # removed at the end of the process


def file_of(secret: str) -> str:
    """Return the path of a file with a secret, which other users cannot read."""
    file = Path(_secrets.name) / os.urandom(8).hex()
    file.touch(mode=0o600)
    file.write_text(f"{secret}\n")
    return str(file)


class Called(NamedTuple):
    """A call as it came."""

    line: str
    named: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> object:
        """What its body says."""
        return json.loads(self.body)


class Double(RawOrigin):
    """It gives `answers` one after the other, then `last` for ever; none unless it `goes`.

    What has the word `refused` in its target or Host is refused.
    """

    def __init__(self, port: int | None = None) -> None:
        super().__init__(self._play, port=port)
        self.calls: list[Called] = []
        self.answers: list[bytes] = []
        self.last = answer(SUCCESS)
        self.refused: str | None = None
        self.goes = asyncio.Event()
        self.goes.set()

    async def _play(self, wire: Wire) -> None:
        line = wire.heard.line.removesuffix(" HTTP/1.1")
        self.calls.append(Called(line, wire.heard.named, await wire.body()))
        await self.goes.wait()
        if self.refused is not None and self.refused in f"{line} {wire.heard.named['host']}":
            await wire.send(refusal("500 Oops"))
            return
        await wire.send(self.answers.pop(0) if self.answers else self.last)


def refusal(status: str, *fields: str) -> bytes:
    """An answer that is no success."""
    return answer(b'{"success": false, "errors": [{"code": 10000}]}', *fields, status=status)
