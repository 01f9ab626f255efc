"""A program that prints the text of a response as OpenAI's SDK streams it; it knows no Headgate.

`python -m tests.models.sdk_program BASE_URL KEY`.
"""

from __future__ import annotations

import sys

import openai

if __name__ == "__main__":
    url, key = sys.argv[1:]
    client = openai.OpenAI(base_url=url, api_key="sk-mine", max_retries=0)
    for event in client.responses.create(
        model="m", input="Hi", stream=True, extra_headers={"Idempotency-Key": key}
    ):
        if event.type == "response.output_text.delta":
            sys.stdout.write(event.delta)
            sys.stdout.flush()
