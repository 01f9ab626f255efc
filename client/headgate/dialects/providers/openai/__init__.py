"""OpenAI's APIs: chat completions, completions and responses; other servers speak them, too."""

from __future__ import annotations

from headgate.dialects.contract import Provider
from headgate.dialects.providers.openai.chat import CHAT
from headgate.dialects.providers.openai.responses import RESPONSES

# Azure takes Api-Key.
PROVIDER = Provider(("Authorization", "Api-Key"), (CHAT, RESPONSES))
