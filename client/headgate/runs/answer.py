"""An answer for web frameworks: status, header fields and a streaming body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. To close the `body` early ends the reading, never the run."""

    status: int
    headers: Mapping[str, str]
    body: AsyncGenerator[bytes]
