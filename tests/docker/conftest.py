"""The image, built once for all tests of a run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from tests.support.shared_folder import shared_folder

if TYPE_CHECKING:
    from tests.docker.image import Image


@pytest.fixture(scope="session")
def image(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the built image, shared with the other workers of the run."""
    # What is imported here, `make test ARGS=tests/docker` does without.
    module = importlib.import_module("tests.docker.image")
    image: Image = module.built_image(shared_folder(tmp_path_factory) / "image")
    return image
