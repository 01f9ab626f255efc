"""The image, built once for all tests of a run."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.support.shared_folder import shared_folder


@pytest.fixture(scope="session")
def image(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the built image, shared with the other workers of the run."""
    # What is imported here, `make test ARGS=tests/docker` does without.
    module = importlib.import_module("tests.docker.image")
    return module.built_image(shared_folder(tmp_path_factory) / "image")
