"""The frames of errors that are handled, which refer to what the request had."""

from __future__ import annotations

import pytest

from headgate_gateway.errors import BadRequest, HeadgateError, OriginTimeout, drop_frames


def _wait(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TimeoutError  # noqa: B904 - the context is meant


def _ask(text: str) -> int:
    try:
        return _wait(text)
    except TimeoutError as cause:
        raise OriginTimeout("late") from cause


def _failure() -> HeadgateError:
    """Return an error that was raised from one which another one had led to."""
    with pytest.raises(OriginTimeout) as caught:
        _ask("never")
    return caught.value


def test_an_error_and_its_causes_lose_their_frames_and_stay_what_they_are() -> None:
    failure = _failure()
    cause = failure.__cause__
    assert isinstance(cause, TimeoutError)
    context = cause.__context__
    assert isinstance(context, ValueError)
    drop_frames(failure)
    assert not any(it.__traceback__ for it in (failure, cause, context))
    assert failure.__cause__ is cause


def test_errors_that_are_the_causes_of_each_other_lose_their_frames() -> None:
    failure, refusal = _failure(), BadRequest("no")
    failure.__cause__, refusal.__cause__ = refusal, failure
    drop_frames(failure)
    assert failure.__traceback__ is None
