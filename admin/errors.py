"""What goes wrong when somebody asks the console."""

from __future__ import annotations


class NotTold(Exception):
    """There is no answer; `status` says why as HTTP does, `reason` in a sentence."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}
