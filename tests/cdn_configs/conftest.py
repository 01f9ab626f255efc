"""One origin, and one nginx before it, for all tests that have a real nginx keep answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn_configs.nginx_before import answering, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn_configs.nginx_before import Origin


@pytest.fixture(scope="package")
def origin() -> Iterator[Origin]:
    with answering() as started:
        yield started


@pytest.fixture(scope="package")
def nginx(processes: None, origin: Origin) -> Iterator[int]:
    with served(origin, "nginx", "bypass") as port:
        yield port
