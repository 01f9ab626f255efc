"""A program that prints the text of an answer that an SDK streams; it does not know Headgate.

`python -m tests.models.sdk_program CALL BASE_URL KEY`: CALL is chat, response or message.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES: Any = [{"role": "user", "content": "How is the weather?"}]


def chat(base_url: str, headers: dict[str, str]) -> Iterator[str]:
    """Yield the text of a chat completion."""
    import openai  # half a second, as long as the other one

    client = openai.OpenAI(base_url=base_url, api_key="sk-mine", max_retries=0)
    for chunk in client.chat.completions.create(
        model="m", messages=MESSAGES, stream=True, extra_headers=headers
    ):
        if chunk.choices:
            yield chunk.choices[0].delta.content or ""


def response(base_url: str, headers: dict[str, str]) -> Iterator[str]:
    """Yield the text of a response."""
    import openai

    client = openai.OpenAI(base_url=base_url, api_key="sk-mine", max_retries=0)
    for event in client.responses.create(model="m", input="Hi", stream=True, extra_headers=headers):
        if event.type == "response.output_text.delta":
            yield event.delta


def message(base_url: str, headers: dict[str, str]) -> Iterator[str]:
    """Yield the text of a message."""
    import anthropic

    client = anthropic.Anthropic(base_url=base_url, api_key="sk-ant-mine", max_retries=0)
    with client.messages.stream(
        model="m", max_tokens=100, messages=MESSAGES, extra_headers=headers
    ) as stream:
        yield from stream.text_stream


if __name__ == "__main__":
    call, url, key = sys.argv[1:]
    for text in {"chat": chat, "response": response, "message": message}[call](
        url, {"Idempotency-Key": key}
    ):
        sys.stdout.write(text)
        sys.stdout.flush()
