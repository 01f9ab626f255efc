"""An answer for web frameworks: status, header fields and a streaming body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response with a streaming body, for a web framework.

    Attributes:
        status: The status code.
        headers: The header fields.
        body: The bytes as they come. To close it early ends the reading, never the run.
    """

    status: int
    headers: Mapping[str, str]
    body: AsyncGenerator[bytes]
