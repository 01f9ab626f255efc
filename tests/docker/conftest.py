"""The image, built once for all tests of a run."""

from __future__ import annotations

import os

import pytest

from tests.docker.image import Image, built_image


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the built image, shared with the other workers of the run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return built_image(shared / "image")
