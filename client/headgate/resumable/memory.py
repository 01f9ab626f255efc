"""The memory of productions, which is given back to the system once all of them have ended.

What they held is free then, but glibc keeps it for later allocations: a few small blocks above it
are enough. After a hundred answers of 1 MB at once, a process of 65 MB would stay at 150.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRIM_FROM_BYTES = 32_000_000  # less is little beside the 65 MB of a process with this library
TRIM_AFTER_S = 1.0  # the next production may begin at once, and use the memory again


class HeldText:
    """The bytes of text that the productions of this process hold, in all its event loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # an event loop may run in each thread
        self._sizes: dict[str, int] = {}
        self._total = self._most = 0
        self._ends = 0

    @contextlib.contextmanager
    def production(self, production_id: str) -> Iterator[None]:
        """Count a production that runs in this block."""
        self.set(production_id, 0)
        try:
            yield
        finally:
            self._remove(production_id)

    def set(self, production_id: str, size: int) -> None:
        """Note how many bytes a production holds."""
        with self._lock:
            self._total += size - self._sizes.get(production_id, 0)
            self._sizes[production_id] = size
            self._most = max(self._most, self._total)

    def _remove(self, production_id: str) -> None:
        with self._lock:
            self._total -= self._sizes.pop(production_id)
            self._ends = end = self._ends + 1
            is_due = self._is_due(end)
        if is_due:
            with contextlib.suppress(RuntimeError):  # its event loop was closed before its end
                asyncio.get_running_loop().call_later(TRIM_AFTER_S, self._trim, end)

    def _is_due(self, end: int) -> bool:
        """Return whether nothing is produced since the end of this number, and much was held."""
        return not self._sizes and end == self._ends and self._most > TRIM_FROM_BYTES

    def _trim(self, end: int) -> None:
        with self._lock:
            if not self._is_due(end):
                return
            self._most = 0
        if (trim := malloc_trim()) is not None:
            # Other threads go on meanwhile, unless they need memory of the system just then.
            threading.Thread(target=trim, args=(0,), name="headgate-trim", daemon=True).start()


held_text = HeldText()


def malloc_trim() -> Callable[[int], object] | None:
    """Return `malloc_trim` of glibc; None with another C library, such as macOS's or musl."""
    try:
        import ctypes

        return ctypes.CDLL(None).malloc_trim
    except (ImportError, AttributeError, OSError, TypeError):
        return None
