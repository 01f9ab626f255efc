"""The classes for threads, which are made of those for asyncio."""

from __future__ import annotations

import inspect

import headgate.sync
import pytest

from scripts import sync_twins


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", sync_twins.MODULES)
def test_the_classes_for_threads_are_made_of_those_for_asyncio_as_they_are_now(name: str) -> None:
    assert sync_twins.path_of(name).read_text() == sync_twins.module_text(name)


@pytest.mark.parametrize("name", set(headgate.sync.__all__) & set(headgate.__all__))
def test_each_class_for_threads_has_the_public_names_of_its_twin(name: str) -> None:
    ours, theirs = (
        {it for it in dir(getattr(module, name)) if not it.startswith("_")}
        for module in (headgate.sync, headgate)
    )
    assert theirs - ours <= {"aclose", *sync_twins.twin_named(name).left_out}
    assert "async" not in inspect.getsource(getattr(headgate.sync, name))
