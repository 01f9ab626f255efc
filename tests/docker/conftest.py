"""The image, built once for all tests of a run."""

from __future__ import annotations

import pytest

from tests.docker.image import Image, built_image
from tests.support.shared_folder import shared_folder


@pytest.fixture(scope="session")
def image(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the built image, shared with the other workers of the run."""
    return built_image(shared_folder(tmp_path_factory) / "image")
