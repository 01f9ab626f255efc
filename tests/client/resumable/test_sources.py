"""What may be a source, and what its readers are told when it is none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from headgate import SourceFailed

from tests.client.resumable.sources import chunks, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.client.resumable.conftest import MakeStreams


class Events:
    """An async iterator that is no generator, as clients of models give it."""

    def __init__(self) -> None:
        self._left = ["a", "b"]

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


def generated() -> Iterator[str]:
    yield "a"
    yield "b"


@pytest.mark.parametrize(
    "make_source",
    [lambda: ["a", "", "b"], generated, Events],
    ids=["list", "generator", "async iterator"],
)
async def test_iterables_of_text_are_sources(in_memory: MakeStreams, make_source: Any) -> None:
    reader = await in_memory().create("a", make_source)
    assert await whole(reader) == "ab"


async def coroutine() -> str:
    return "text"


def raising() -> Iterator[str]:
    raise LookupError("no such model")


@pytest.mark.parametrize(
    ("make_source", "told"),
    [
        (lambda: None, "make_source must give .* not an object of type NoneType"),
        (lambda: "text", "make_source must give .* not an object of type str"),
        (lambda: {"a": 1}, "make_source must give .* not an object of type dict"),
        (coroutine, "make_source must give .* not an object of type coroutine"),
        (lambda: chunks(b"bytes"), "a source must give str, not .* of type bytes"),  # type: ignore[arg-type]
        (lambda: ["ok", {"delta": "x"}], "a source must give str, not .* of type dict"),
        (raising, "LookupError$"),
    ],
    ids=["none", "str", "dict", "coroutine", "chunks of bytes", "chunk of dict", "raises"],
)
async def test_a_source_of_a_wrong_type_fails_its_stream_with_an_error_that_names_it(
    in_memory: MakeStreams, make_source: Any, told: str
) -> None:
    with pytest.raises(SourceFailed, match=f"stream 'a' failed: {told}"):
        await whole(await in_memory().create("a", make_source))


async def test_the_creator_of_a_failed_stream_gets_the_original_error_as_cause(
    in_memory: MakeStreams,
) -> None:
    reader = await in_memory().create("a", raising)
    with pytest.raises(SourceFailed) as raised:
        await whole(reader)
    assert isinstance(raised.value.__cause__, LookupError)


async def test_an_error_text_is_cut_to_a_thousand_characters(
    on_redis: MakeStreams, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "headgate.resumable")  # no terminal could show it

    def wordy() -> Iterator[str]:
        raise ValueError("\ud83d" + "x" * 10_000)

    with pytest.raises(SourceFailed, match=r"failed: [?]x{900,1000}$"):
        await whole(await on_redis(error_text=str).create("a", wordy))
