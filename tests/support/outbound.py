"""The requests of this process for one purpose as they are counted, and whom they trust."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.outbound.connections import system_trust
from headgate_gateway.telemetry.outbound import OUTCOMES, counts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class OutboundRequests:
    """The requests for a purpose since this was made."""

    def __init__(self, purpose: str) -> None:
        self._counts = counts_of(purpose).requests
        self._before = dict(self._counts)

    def by_outcome(self) -> dict[str, int]:
        """The outcomes that there were."""
        new = {outcome: self._counts[outcome] - self._before[outcome] for outcome in OUTCOMES}
        return {outcome: number for outcome, number in new.items() if number}

    @property
    def succeeded(self) -> int:
        return self.by_outcome().get("2xx", 0)

    @property
    def failed(self) -> int:
        return sum(self.by_outcome().values()) - self.succeeded


@contextmanager
def trusting(authority: Path) -> Iterator[None]:
    """Let outbound requests trust this authority as that of the system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority))
        system_trust.cache_clear()
        try:
            yield
        finally:
            system_trust.cache_clear()
