"""The event loop that serves in production; a conftest.py that imports this has tests run on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping


class AuditedLoop(uvloop.Loop):
    """The loop of production, which tells audit hooks of the programs that it starts."""

    async def subprocess_exec(
        self, protocol_factory: Callable[[], Any], *args: Any, **options: Any
    ) -> Any:
        """Start a program."""
        sys.audit("subprocess.Popen", args[0], args, None, None)  # libuv does not
        return await super().subprocess_exec(protocol_factory, *args, **options)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"uvloop": AuditedLoop}
