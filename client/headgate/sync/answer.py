"""An answer for web frameworks with threads: status, header fields and a streaming body.

Made by `python -m scripts.sync_twins` from `headgate.runs.answer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping


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
    body: Generator[bytes]
