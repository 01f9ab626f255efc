"""The messages that the SDKs of OpenAI and Anthropic make of streams of events.

The SDKs are imported by the first call: that takes three seconds, and most of the processes that
play tests make none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def data_of(body: bytes) -> list[Any]:
    """Return the JSON values of the data lines in a body."""
    lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def chat_message(chunks: Iterable[Any]) -> Any:
    """Return the completion that OpenAI's SDK makes of chunks."""
    from openai.lib.streaming.chat import ChatCompletionStreamState
    from openai.types.chat import ChatCompletionChunk

    state: Any = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot.model_dump()


def response_message(events: Iterable[Any]) -> Any:
    """Return the response that OpenAI's SDK makes of all events but the last, which has it all."""
    from openai import Omit
    from openai._models import construct_type
    from openai.lib.streaming.responses._responses import ResponseStreamState
    from openai.types.responses import ResponseStreamEvent

    state: Any = ResponseStreamState(input_tools=Omit(), text_format=Omit())
    for event in events:
        if event["type"] not in {"response.completed", "error"}:
            state.handle_event(construct_type(type_=ResponseStreamEvent, value=event))
    # What has accumulated is public only with the last event, which has everything itself.
    return state._ResponseStreamState__current_snapshot.model_dump(warnings=False)


def anthropic_message(events: Iterable[Any]) -> Any:
    """Return the message that Anthropic's SDK makes of events."""
    from anthropic._models import construct_type
    from anthropic.lib.streaming._messages import accumulate_event
    from anthropic.types import RawMessageStreamEvent

    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        if event["type"] not in {"ping", "error"}:
            parsed: Any = construct_type(type_=RawMessageStreamEvent, value=event)
            snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot.model_dump(warnings=False)


MESSAGE: dict[str, Callable[[Iterable[Any]], Any]] = {
    "chat completion": chat_message,
    "response": response_message,
    "message": anthropic_message,
}
