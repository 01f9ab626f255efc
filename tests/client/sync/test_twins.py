"""The classes for threads beside those for asyncio: their methods, parameters and defaults."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import headgate
import headgate.sync
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

TWINS = [
    (headgate.sync.Chats, headgate.Chats),
    (headgate.sync.Job, headgate.Job),
    (headgate.sync.JobStream, headgate.JobStream),
    (headgate.sync.Runs, headgate.Runs),
    (headgate.sync.StreamWriter, headgate.StreamWriter),
    (headgate.sync.WebhookReceiver, headgate.WebhookReceiver),
    (headgate.sync.Worker, headgate.Worker),
]
# What belongs to an event loop, or is made by what is for asyncio alone.
FOR_ASYNCIO = {"session", "keep_alive", "metadata", "place"}
# What other modules of the library call.
INTERNAL = {
    "finish",
    "has_progress",
    "interrupt",
    "is_interrupted",
    "next_job",
    "note_acked",
    "unacknowledged_offset",
}
# Made by a worker, which has what it needs.
MADE_BY_WORKERS = {headgate.Job, headgate.JobStream}
FOR_THREADS = {
    "produce",  # in asyncio, a worker awaits what `keep_alive` is called with
    "in_process",  # for the modules beside it
    "for_requests",
}
# What the other one is annotated with.
ANNOTATIONS = {
    "AsyncIterable[object]": "Iterable[object]",
    "str | StreamRequests": "str",
    "asyncio.Event": "threading.Event",
    "AsyncGenerator[Any]": "Iterator[Any]",
    "AsyncGenerator[Batch]": "Iterator[Batch]",
    "Callable[[Job], Awaitable[object]]": "Callable[[Job], object]",
    "Callable[[Written], AsyncIterable[object]]": "Callable[[Written], Iterable[object]]",
}


def public(kind: type) -> set[str]:
    """Return the names of what a class offers."""
    return {name for name in vars(kind) if not name.startswith("_")} - FOR_ASYNCIO - INTERNAL


def parameters(function: object) -> Mapping[str, inspect.Parameter]:
    assert callable(function)
    return inspect.signature(function).parameters


def of_threads(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return the parameter as it is for threads."""
    annotation = ANNOTATIONS.get(parameter.annotation, parameter.annotation)
    return parameter.replace(annotation=annotation)


@pytest.mark.parametrize(("for_threads", "for_asyncio"), TWINS)
def test_each_sync_class_has_the_public_names_of_its_asyncio_class(
    for_threads: type, for_asyncio: type
) -> None:
    assert public(for_threads) - FOR_THREADS == public(for_asyncio)


@pytest.mark.parametrize(
    ("for_threads", "for_asyncio", "name"),
    [
        (*twins, name)
        for twins in TWINS
        for name in ["__init__", *sorted(public(twins[1]))]
        if inspect.isfunction(getattr(twins[1], name))
        and not (name == "__init__" and twins[1] in MADE_BY_WORKERS)
    ],
)
def test_each_sync_method_has_the_signature_of_its_asyncio_method(
    for_threads: type, for_asyncio: type, name: str
) -> None:
    ours, theirs = getattr(for_threads, name), getattr(for_asyncio, name)
    expected = [of_threads(each) for each in parameters(theirs).values()]
    assert [*parameters(ours).values()] == [
        each for each in expected if each.name not in FOR_ASYNCIO
    ]
    returned = inspect.signature(theirs).return_annotation
    assert inspect.signature(ours).return_annotation == ANNOTATIONS.get(returned, returned)


def test_sync_produce_has_the_parameters_of_start() -> None:
    runs = headgate.sync.Runs
    assert parameters(runs.produce) == parameters(runs.start)
